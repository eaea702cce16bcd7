//! A configuration that is read anew while the engine runs. What is different is made ready first, where anything may fail;
//! then it is done, where nothing can. So all of it holds, or nothing has changed.

use super::{Engine, Inner, Opened, check_order, proxies_of};
use crate::config::{Before, Config, Difference, FileConfig, Matched, Reloaded};
use crate::id::{FileId, ListenerId, RelayId};
#[cfg(feature = "http")]
use crate::login::Password;
use crate::net::{Renewal, ServerTls, TlsIdentity};
use crate::preflight;
use crate::service::Current;
use crate::service::file_loop::OpenedFiles;
use crate::service::streams::Published;
use crate::status::{FileState, Protocol, StreamState};
use crate::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the configuration has begun, in the order of its lists: what it no longer names ends, what the program has begun
/// stays.
#[derive(Default)]
pub(super) struct Configured {
    /// By protocol, as [`listen_lists`] has them.
    pub(super) listeners: [Vec<ListenerId>; 4],
    pub(super) push: Vec<RelayId>,
    pub(super) pull: Vec<RelayId>,
    pub(super) file: Vec<FileId>,
}

/// The addresses to listen on, by protocol.
pub(super) fn listen_lists(config: &Config) -> [(Protocol, &[SocketAddr]); 4] {
    [
        (Protocol::Rtmp, &config.rtmp.listen),
        (Protocol::Rtmps, &config.rtmps.listen),
        (Protocol::Http, &config.http.listen),
        (Protocol::Https, &config.https.listen),
    ]
}

/// A step from one configuration to the next.
struct Step<'a> {
    before: &'a Config,
    config: &'a Config,
    difference: &'a Difference,
}

/// A listener of the new configuration.
enum Listen {
    Kept(ListenerId),
    Opened(Box<Opened>),
}

/// Files of the new configuration, with what new ones need to begin.
enum Play<Files = OpenedFiles> {
    Kept(FileId),
    New(Files),
    /// In place of those that a job plays.
    Instead(FileId, OpenedFiles),
}

/// Files with the right to publish what they play as.
type Named = (OpenedFiles, Published);

/// All that may fail, done.
struct Ready {
    current: Current,
    listen: [Vec<Listen>; 4],
    renewals: Vec<(Arc<ServerTls>, Renewal)>,
    play: Vec<Play>,
    #[cfg(feature = "http")]
    password: Password,
}

impl Engine {
    /// The configuration in force: what the engine was started with, or was told by [`Self::reload`] since, with the old values
    /// of what needs a restart.
    pub fn config(&self) -> Config {
        self.inner.core.config().clone()
    }

    /// Takes another configuration in place of the one in force, and does what is different: opens and closes listeners,
    /// begins, changes and ends relays, files and origins, and goes by other rules, policies and limits. What is the same is
    /// not touched, and neither is what the program has begun itself. The answer says what is different, and for what a
    /// restart is needed.
    ///
    /// Files that have not been played so far are read through once before this returns, as by [`Self::loop_file`].
    ///
    /// # Errors
    /// As of [`EngineBuilder::start`](crate::EngineBuilder::start), and [`ErrorKind::Closed`] while draining. Then nothing has
    /// changed.
    pub fn reload(&self, config: Config) -> Result<Reloaded> {
        // One after the other: each is a difference to what the one before has left.
        let mut configured = self.inner.configured.lock();
        check_order(&config, self.inner.deciders.program.is_some())?;
        preflight::check_start(&config)?;
        let before = self.config();
        let difference = Difference::new(&before, &config);
        let config = config.until_restart(&before);
        config.check().map_err(|error| error.context("with what stays as it is until a restart"))?;
        let step = Step { before: &before, config: &config, difference: &difference };
        let ready = self.make_ready(&step, &configured)?;
        self.apply(&step, ready, &mut configured)?;
        difference.changes.iter().for_each(|change| tracing::info!("configuration: {change}"));
        Ok(Reloaded { changes: difference.changes })
    }

    fn make_ready(&self, step: &Step<'_>, configured: &Configured) -> Result<Ready> {
        if self.inner.core.draining.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "reload: the engine is draining"));
        }
        Ok(Ready {
            listen: self.open_listeners(step, configured)?,
            renewals: self.renew_certificates(step, configured)?,
            play: self.open_files(step, configured)?,
            #[cfg(feature = "http")]
            password: self.inner.core.login.read(&step.config.http)?,
            current: self.inner.current(step.before, step.config.clone())?,
        })
    }

    fn open_listeners(&self, step: &Step<'_>, configured: &Configured) -> Result<[Vec<Listen>; 4]> {
        let matched = step.difference.listen.iter().zip(&configured.listeners);
        let leaving: Vec<_> = matched.flat_map(|(matched, ids)| matched.gone(ids)).collect();
        let mut listen = [const { Vec::new() }; 4];
        let lists = listen_lists(step.config).into_iter().zip(&step.difference.listen);
        for (((protocol, addresses), matched), (ids, listen)) in
            lists.zip(configured.listeners.iter().zip(&mut listen))
        {
            for (&address, before) in addresses.iter().zip(matched.before(ids)) {
                listen.push(match before {
                    Before::Same(id) | Before::Other(id) => Listen::Kept(id),
                    Before::Nothing => self.open_listener(protocol, address, step.config, &leaving)?,
                });
            }
        }
        Ok(listen)
    }

    /// Opens a listener, or takes one of the program's as the configuration's. Where one that is about to be closed has the
    /// address, its socket changes hands.
    fn open_listener(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        config: &Config,
        leaving: &[ListenerId],
    ) -> Result<Listen> {
        let (own, socket) = {
            let listeners = self.inner.listeners.lock();
            let there = listeners.values().find(|listening| listening.info.address == address);
            let is_leaving = there.is_some_and(|listening| leaving.contains(&listening.info.id));
            let own = there.filter(|listening| listening.info.protocol == protocol && !is_leaving);
            let socket = there.filter(|_| is_leaving).map(|listening| listening.socket.clone());
            (own.map(|listening| listening.info.id), socket)
        };
        if let Some(id) = own {
            return Ok(Listen::Kept(id));
        }
        let socket = socket.and_then(|socket| socket.take_over());
        let opened = self.open_configured(protocol, address, config, socket);
        opened.map(|opened| Listen::Opened(Box::new(opened)))
    }

    /// Reads the certificates that listeners are to have which stay.
    fn renew_certificates(
        &self,
        Step { before, config, .. }: &Step<'_>,
        configured: &Configured,
    ) -> Result<Vec<(Arc<ServerTls>, Renewal)>> {
        let mut renewals = Vec::new();
        let ids = listen_lists(config).into_iter().zip(&configured.listeners);
        for ((protocol, _), ids) in ids {
            let identity = |config| identity_of(config, protocol);
            let Some(identity) = identity(config).filter(|new| identity(before).as_ref() != Some(new)) else {
                continue;
            };
            let tls_of = |id: &ListenerId| self.inner.listeners.lock().get(id)?.tls.clone();
            for tls in ids.iter().filter_map(tls_of) {
                let renewal = tls.read(identity.clone())?;
                renewals.push((tls, renewal));
            }
        }
        Ok(renewals)
    }

    fn open_files(&self, step: &Step<'_>, configured: &Configured) -> Result<Vec<Play>> {
        let plays = |id| self.inner.files.status(id).is_some_and(|status| status.state == FileState::Playing);
        let open = |(file, before): (&FileConfig, Before<FileId>)| {
            if let Before::Same(id) = before {
                return Ok(Play::Kept(id));
            }
            let files = || OpenedFiles::new(file.clone());
            match before {
                Before::Other(id) if plays(id) => Ok(Play::Instead(id, files()?)),
                _ => {
                    self.check_free(file)?;
                    Ok(Play::New(files()?))
                }
            }
        };
        let matched = &step.difference.file;
        step.config.file.iter().zip(matched.before(&configured.file)).map(open).collect()
    }

    fn check_free(&self, file: &FileConfig) -> Result<()> {
        match self.stream(&file.stream).map(|stream| stream.state) {
            Some(StreamState::Live) => {
                let text = format!("file {}: the stream has a publisher", file.stream);
                Err(Error::new(ErrorKind::Exists, text))
            }
            _ => Ok(()),
        }
    }

    /// Does what is ready. An error where somebody has taken the name of a file meanwhile; nothing has changed then.
    fn apply(&self, step: &Step<'_>, ready: Ready, configured: &mut Configured) -> Result<()> {
        let inner = &self.inner;
        let last = inner.core.set(Arc::new(ready.current));
        let play = inner.take_names(ready.play).inspect_err(|_| drop(inner.core.set(last)))?;
        if step.before.limits != step.config.limits {
            let _entered = inner.handle.enter();
            inner.core.apply_limits();
            inner.admission.set_limits(&inner.core.limits());
        }
        #[cfg(feature = "http")]
        inner.core.login.put(ready.password);
        ready.renewals.into_iter().for_each(|(tls, renewal)| tls.put(renewal));
        self.listen_anew(step, ready.listen, configured);
        inner.push_anew(step, configured);
        inner.pull_anew(step, configured);
        inner.play_anew(&step.difference.file, play, configured);
        inner.name_origins_anew(step);
        Ok(())
    }

    fn listen_anew(&self, step: &Step<'_>, listen: [Vec<Listen>; 4], configured: &mut Configured) {
        let lists = step.difference.listen.iter().zip(&mut configured.listeners);
        for ((matched, ids), listen) in lists.zip(listen) {
            let gone: Vec<_> = matched.gone(ids).collect();
            let begin = |listen| match listen {
                Listen::Kept(id) => id,
                Listen::Opened(opened) => self.inner.begin(*opened).id,
            };
            *ids = listen.into_iter().map(begin).collect();
            for id in gone {
                // The program may have closed it.
                let _ = self.close_listener(id);
            }
        }
        for listening in self.inner.listeners.lock().values() {
            listening.proxies.set(proxies_of(step.config, listening.info.protocol));
        }
    }
}

impl Inner {
    /// Takes the names of files that begin to play; all of them or none.
    fn take_names(&self, play: Vec<Play>) -> Result<Vec<Play<Named>>> {
        let mut named = Vec::new();
        for play in play {
            named.push(match play {
                Play::Kept(id) => Play::Kept(id),
                Play::Instead(id, files) => Play::Instead(id, files),
                Play::New(files) => match self.files.take_name(&files) {
                    Ok(publisher) => Play::New((files, publisher)),
                    Err(error) => {
                        named.into_iter().for_each(give_name_back);
                        return Err(error);
                    }
                },
            });
        }
        Ok(named)
    }

    fn push_anew(&self, Step { config, difference, .. }: &Step<'_>, configured: &mut Configured) {
        for id in difference.push.gone(&configured.push) {
            // The program may have removed it.
            let _ = self.relays.remove(id);
        }
        let before = difference.push.before(&configured.push);
        let push = config.push.iter().zip(before).map(|(push, before)| match before {
            Before::Same(id) => id,
            Before::Other(id) if self.relays.tune(id, push.tuning.clone()).is_ok() => id,
            Before::Other(_) | Before::Nothing => self.relays.push(push.clone()),
        });
        configured.push = push.collect();
    }

    fn pull_anew(&self, Step { config, difference, .. }: &Step<'_>, configured: &mut Configured) {
        for id in difference.pull.gone(&configured.pull) {
            let _ = self.relays.remove(id);
        }
        let before = difference.pull.before(&configured.pull);
        let pull = config.pull.iter().zip(before).map(|(pull, before)| match before {
            Before::Same(id) => id,
            Before::Other(id) => self.relays.pull_instead(id, pull.clone()),
            Before::Nothing => self.relays.pull(pull.clone()),
        });
        configured.pull = pull.collect();
    }

    fn play_anew(&self, matched: &Matched, play: Vec<Play<Named>>, configured: &mut Configured) {
        let other = matched.before(&configured.file).filter_map(|before| match before {
            Before::Other(id) => Some(id),
            Before::Same(_) | Before::Nothing => None,
        });
        let begun: Vec<_> = play.into_iter().map(|play| self.play(play)).collect();
        for id in matched.gone(&configured.file).chain(other) {
            // What plays on in its place has ended it; and the program may have.
            let _ = self.files.stop(id);
        }
        configured.file = begun;
    }

    fn play(&self, play: Play<Named>) -> FileId {
        match play {
            Play::Kept(id) => id,
            Play::New((files, publisher)) => self.files.begin(files, publisher),
            // Refused only where the engine drains, which ends the job too.
            Play::Instead(id, files) => self.files.play_instead(id, files).unwrap_or(id),
        }
    }

    fn name_origins_anew(&self, Step { before, config, .. }: &Step<'_>) {
        for alias in before.origins.keys().filter(|alias| !config.origins.contains_key(*alias)) {
            self.core.origins.remove(alias);
        }
        for (alias, origin) in &config.origins {
            if before.origins.get(alias) != Some(origin) {
                self.core.origins.set(alias, origin.clone());
            }
        }
    }
}

/// What has not begun to play leaves nothing behind.
fn give_name_back(play: Play<Named>) {
    if let Play::New((_, publisher)) = play {
        publisher.finish("unpublished");
    }
}

/// The certificate and key of listeners of a protocol.
pub(super) fn identity_of(config: &Config, protocol: Protocol) -> Option<TlsIdentity> {
    let (cert, key) = match protocol {
        Protocol::Rtmps => (&config.rtmps.cert, &config.rtmps.key),
        Protocol::Https => (&config.https.cert, &config.https.key),
        Protocol::Rtmp | Protocol::Http => return None,
    };
    Some(TlsIdentity::files(cert.as_ref()?, key.as_ref()?))
}
