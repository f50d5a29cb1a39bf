//! The protocol of files, over all disks.
