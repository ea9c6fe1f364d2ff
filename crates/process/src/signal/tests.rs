use nix::sys::signal::{Signal as Unix, raise};

use super::*;
use crate::drain;

/// One test, since a signal reaches every listener of the process.
#[tokio::test(start_paused = true)]
async fn the_first_signal_drains_and_the_second_ends_it() {
    let (mut signals, quit) = Signals::listen().unwrap();
    for (signal, cause) in [(Unix::SIGTERM, Cause::Terminate), (Unix::SIGINT, Cause::Interrupt)] {
        raise(signal).unwrap();
        assert_eq!(signals.next().await, cause);
    }
    quit.now();
    quit.now();
    assert_eq!(signals.next().await, Cause::Quit);

    let grace = Duration::from_secs(5);
    let (trigger, drain) = drain::channel();
    let guard = drain.guard();
    quit.now();
    let open = async {
        drain.graceful().await;
        drop(guard);
    };
    assert_eq!(tokio::join!(drain_when_asked(signals, trigger, grace), open).0, Some(Drained::Gracefully));

    let (signals, _quit) = Signals::listen().unwrap();
    let (trigger, drain) = drain::channel();
    let _guard = drain.guard();
    raise(Unix::SIGTERM).unwrap();
    let impatient = async {
        drain.graceful().await;
        raise(Unix::SIGTERM).unwrap();
    };
    assert_eq!(tokio::join!(drain_when_asked(signals, trigger, grace), impatient).0, None);
}
