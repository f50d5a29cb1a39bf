//! For tests of what is built on stores: disks that fail when they are told to.

pub use crate::storage::faulty::{Fault, FaultyDisk};
