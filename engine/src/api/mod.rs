//! All that a user types.
//!
//! - [`env`]: the environment: settings, sources, `execute`;
//! - [`stream`]: streams without keys and what can be done to them;
//! - [`keyed`]: streams with keys; [`windowed`]: windows over them, [`window_path`]: how those are computed; [`join`]: windows over
//!   two streams;
//! - [`process`]: functions with state and timers; [`connect`]: the same over two streams;
//!   [`context`]: what they see;
//! - [`source`], [`sink`]: where records come from and go to;
//! - [`record`]: what can cross an exchange; [`tag`]: side outputs; [`config`]: settings; [`backend`]: where state is.

pub(crate) mod aggregate;
pub(crate) mod backend;
pub(crate) mod chain;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod context;
pub(crate) mod env;
pub(crate) mod join;
pub(crate) mod keyed;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod tag;
pub(crate) mod window_path;
pub(crate) mod windowed;
