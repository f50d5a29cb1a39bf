//! What takes more than one module: round trips through buffers, golden bytes, and the models loom walks through.

#[cfg(not(loom))]
mod layout;
#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod round_trip;
