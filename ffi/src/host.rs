//! What an engine handle and its children share: the engine while it runs, events, authorisation, the callback thread.

use crate::auth_queue::{AuthQueue, QueuedAuthorizer};
use crate::dispatcher::Dispatcher;
use crate::queue::EventQueue;
use crate::status::{Failure, Outcome, se_status};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::Duration;
use streamengine::{Config, Engine, Reloaded};
use tokio_util::sync::CancellationToken;

streamengine::bound! {
    /// How long freeing waits for a callback that runs (test `closing_waits_two_seconds_for_a_callback_that_hangs`).
    const CALLBACK_TIMEOUT: Duration = Duration::from_secs(2), without Duration::from_secs(1 << 30);
}

/// Behind `se_engine`. Children that need it after their making hold it too.
pub(crate) struct Host {
    config: Mutex<Config>,
    pub(crate) events: Arc<EventQueue>,
    /// Requests to publish and play.
    pub(crate) requests: Arc<AuthQueue>,
    pub(crate) dispatcher: Dispatcher,
    state: RwLock<State>,
    /// Held by whoever starts or stops the engine.
    changing: Mutex<()>,
    closing: CancellationToken,
}

enum State {
    Stopped,
    Running(Engine),
    Closed,
}

fn closed() -> Failure {
    Failure::new(se_status::SE_E_CLOSED, "engine: it has been freed")
}

impl Host {
    /// A host whose engine is not started.
    pub(crate) fn new(config: Config) -> Outcome<Self> {
        config.check()?;
        Ok(Self {
            events: EventQueue::of_engine(),
            requests: Arc::default(),
            config: Mutex::new(config),
            dispatcher: Dispatcher::default(),
            state: RwLock::new(State::Stopped),
            changing: Mutex::default(),
            closing: CancellationToken::new(),
        })
    }

    /// The engine, where it runs.
    pub(crate) fn engine(&self) -> Outcome<Engine> {
        match &*self.state.read() {
            State::Running(engine) => Ok(engine.clone()),
            State::Stopped => {
                Err(Failure::new(se_status::SE_E_STATE, "engine: it is not started (se_engine_start)"))
            }
            State::Closed => Err(closed()),
        }
    }

    /// Starts the engine as configured.
    pub(crate) fn start(&self) -> Outcome {
        let _changing = self.changing.lock();
        match &*self.state.read() {
            State::Running(_) => {
                return Err(Failure::new(se_status::SE_E_STATE, "engine: it is started already"));
            }
            State::Closed => return Err(closed()),
            State::Stopped => {}
        }
        let events = self.events.clone();
        let builder = Engine::builder()
            .config(self.config.lock().clone())
            .authorize(QueuedAuthorizer(self.requests.clone()))
            .on_event(move |event| events.push(event));
        #[cfg(feature = "http")]
        let builder = builder.assets(streamengine_web::assets());
        self.running(builder.start()?)
    }

    /// Has the engine take another configuration, with which it is started the next time, too.
    pub(crate) fn reload(&self, config: Config) -> Outcome<Reloaded> {
        let _changing = self.changing.lock();
        let reloaded = self.engine()?.reload(config.clone())?;
        *self.config.lock() = config;
        Ok(reloaded)
    }

    /// Changes something of the configuration, of a running engine too.
    #[cfg(feature = "http")]
    pub(crate) fn change(&self, change: impl FnOnce(&mut Config)) -> Outcome {
        let _changing = self.changing.lock();
        let mut config = self.config.lock().clone();
        change(&mut config);
        let running = match &*self.state.read() {
            State::Running(engine) => Some(engine.clone()),
            State::Stopped => None,
            State::Closed => return Err(closed()),
        };
        if let Some(engine) = running {
            engine.reload(config.clone())?;
        }
        *self.config.lock() = config;
        Ok(())
    }

    /// The engine runs, unless the host was closed while it started.
    fn running(&self, engine: Engine) -> Outcome {
        let mut state = self.state.write();
        if matches!(*state, State::Closed) {
            drop(state);
            drop(engine);
            return Err(closed());
        }
        *state = State::Running(engine);
        Ok(())
    }

    /// Stops the engine, in good order as far as `drain` lasts.
    pub(crate) fn stop(&self, drain: Duration) -> Outcome {
        let _changing = self.changing.lock();
        let engine = self.engine()?;
        // Freeing cuts this short.
        let closing = async {
            self.closing.cancelled().await;
            Err(streamengine::Error::new(streamengine::ErrorKind::Closed, "engine: it has been freed"))
        };
        let drained =
            futures_lite::future::block_on(futures_lite::future::or(engine.drain_within(drain), closing));
        let mut state = self.state.write();
        if let State::Running(_) = *state {
            *state = State::Stopped;
        }
        drop(state);
        drop(engine);
        Ok(drained?)
    }

    /// Ends everything: the engine's threads, then the callback thread. False where a callback has not returned.
    pub(crate) fn close(&self) -> bool {
        let engine = std::mem::replace(&mut *self.state.write(), State::Closed);
        self.closing.cancel();
        drop(engine);
        // Whoever is stopping or starting it is through with it now.
        drop(self.changing.lock());
        self.events.close();
        self.requests.close();
        self.dispatcher.shutdown(CALLBACK_TIMEOUT.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Wait;
    use std::sync::mpsc;
    use std::time::Instant;

    #[test]
    fn closing_waits_two_seconds_for_a_callback_that_hangs() {
        let host = Host::new(Config::default()).unwrap();
        let ((started, is_started), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel::<()>());
        let stuck = async move {
            started.send(()).unwrap();
            let _ = may_go_on.recv_timeout(Duration::from_secs(20));
        };
        host.dispatcher.spawn(stuck).unwrap().detach();
        is_started.recv_timeout(Duration::from_secs(20)).unwrap();
        let begun = Instant::now();
        assert!(!host.close(), "it still runs");
        assert!((CALLBACK_TIMEOUT.stated()..Duration::from_secs(15)).contains(&begun.elapsed()));
        drop(go_on);
    }

    #[test]
    fn closing_wakes_whoever_waits_and_cuts_a_stop_short() {
        let host = Arc::new(Host::new(Config::default()).unwrap());
        host.start().unwrap();
        let spawn = |body: fn(&Host) -> se_status| {
            let host = host.clone();
            std::thread::spawn(move || body(&host))
        };
        let reading = spawn(|host| host.events.next(Wait::Forever).unwrap_err().status);
        let stopping = spawn(|host| {
            host.stop(Duration::from_secs(3600)).map_or_else(|e| e.status, |()| se_status::SE_OK)
        });
        let begun = Instant::now();
        assert!(host.close());
        assert_eq!(reading.join().unwrap(), se_status::SE_E_CLOSED);
        // It may have been through before.
        assert!([se_status::SE_OK, se_status::SE_E_CLOSED].contains(&stopping.join().unwrap()));
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert_eq!(host.start().unwrap_err().status, se_status::SE_E_CLOSED);
        assert_eq!(host.engine().map(drop).unwrap_err().status, se_status::SE_E_CLOSED);
    }
}
