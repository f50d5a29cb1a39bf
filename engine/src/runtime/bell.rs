//! The doorbell of a core: wakes it when it is parked, and costs a fence and a load when it is not.

use std::sync::Arc;
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use thalweg_net::ParkFlag;

/// Wakes a core, from any thread. Cloned freely. A reader gets it from [`crate::SourceContext::bell`], where there is an example.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    flag: ParkFlag,
    waker: AtomicWaker,
}

impl Bell {
    /// Wakes the core if it sleeps. To be called after what it shall see was published. One that is awake will look once more
    /// before it sleeps; ringing it costs a fence and a load.
    ///
    /// ```
    /// use thalweg::Bell;
    ///
    /// let bell = Bell::default(); // Of a core that never sleeps: to test a reader alone.
    /// bell.ring();
    /// ```
    pub fn ring(&self) {
        if self.shared.flag.ring_if_parked() {
            self.shared.waker.wake();
        }
    }

    /// The core is about to sleep: it must look at all it could be sent once more, and then either `cancel` or wait.
    pub(crate) fn prepare(&self) {
        self.shared.flag.prepare();
    }

    pub(crate) fn cancel(&self) {
        self.shared.flag.cancel();
    }

    /// Whether nobody has rung since `prepare`.
    pub(crate) fn is_silent(&self) -> bool {
        self.shared.flag.is_parked()
    }

    /// Ready when someone has rung since `prepare`.
    pub(crate) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.waker.register(cx.waker());
        if self.is_silent() { Poll::Pending } else { Poll::Ready(()) }
    }
}
