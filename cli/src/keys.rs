//! `keys`: makes, lists and revokes the keys of a database.

use crate::args::KeysArgs;
use crate::args::access::{AddArgs, KeysCommand};
use crate::{Failure, output};
use serde::Serialize;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{Read, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};
use streamengine::{ErrorKind, KeyInfo, Keys, MadeKey, NewKey, Secret};

/// How long the database may take for one command.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does one thing to the keys of a database.
pub(crate) fn run(args: KeysArgs) -> Result<(), Failure> {
    let database = args.database.ok_or_else(|| {
        Failure::usage("which database? --keys FILE, or --keys postgres://USER:PASSWORD@HOST/NAME")
    })?;
    let makes = matches!(args.command, KeysCommand::Add(_) | KeysCommand::Import { .. });
    if !makes && is_absent_file(&database) {
        return Err(Failure::usage(format!(
            "{}: there is no such database; keys add makes one",
            database.expose()
        )));
    }
    let json = args.json;
    let work = async {
        let keys = Keys::open(&database).await?;
        act(&keys, args.command, json).await
    };
    in_time(work)
}

fn is_absent_file(database: &Secret) -> bool {
    !database.expose().contains("://") && !Path::new(database.expose()).exists()
}

fn in_time(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::running(error.to_string()))?;
    let done = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
    done.unwrap_or_else(|_| Err(Failure::running("the database of the keys does not answer")))
}

async fn act(keys: &Keys, command: KeysCommand, json: bool) -> Result<(), Failure> {
    match command {
        KeysCommand::Add(args) => show_made(&keys.add(&new_key(args)).await?, json),
        KeysCommand::List { stream } => show_all(&keys.list(stream.as_ref()).await?, json),
        KeysCommand::Show { id } => show(&keys.get(&id).await?, json),
        KeysCommand::Revoke { id } => show(&keys.revoke(&id).await?, json),
        KeysCommand::Rotate { id, overlap } => show_made(&keys.rotate(&id, overlap).await?, json),
        KeysCommand::Import { file } => import(keys, &file, json).await,
        KeysCommand::Export { file } => write(&file, &keys.export().await?),
    }
}

fn new_key(args: AddArgs) -> NewKey {
    let AddArgs { stream, play, who, max_kbps, max_viewers, expires, until } = args;
    let new = if play { NewKey::play(stream) } else { NewKey::publish(stream) };
    new.who(who).max_kbps(max_kbps).max_viewers(max_viewers).expires(expires).until(until)
}

fn show_made(made: &MadeKey, json: bool) -> Result<(), Failure> {
    let (key, info) = (made.key.expose(), &made.info);
    if json {
        return output::print_json(made);
    }
    let KeyInfo { id, action, stream, .. } = info;
    let text = format!(
        "{key}\n\nThis is shown once. From now on the key is called {id}:\n{}\n\n{action} with it as rtmp://HOST/{}/{key} or \
         rtmp://HOST/{stream}?key={key}\n",
        in_words(info),
        stream.app(),
    );
    output::print_result(&text)
}

fn show(info: &KeyInfo, json: bool) -> Result<(), Failure> {
    match json {
        true => output::print_json(info),
        false => output::print_result(&format!("{}\n", in_words(info))),
    }
}

/// All of several keys.
#[derive(Serialize)]
struct All<'a> {
    keys: &'a [KeyInfo],
}

fn show_all(keys: &[KeyInfo], json: bool) -> Result<(), Failure> {
    match json {
        true => output::print_json(&All { keys }),
        false => {
            let lines: String = keys.iter().map(|info| in_words(info) + "\n").collect();
            output::print_result(if lines.is_empty() { "no keys\n" } else { &lines })
        }
    }
}

/// `7k3mq9x2ab  publish live/a  alice, at most 6000 kbit/s; revoked 2027-01-31T18:00:00Z`.
fn in_words(info: &KeyInfo) -> String {
    let date = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let mut facts = Vec::new();
    facts.extend(info.who.clone());
    facts.extend(info.max_kbps.map(|kbps| format!("at most {kbps} kbit/s")));
    facts.extend(info.max_viewers.map(|viewers| format!("at most {viewers} viewers")));
    facts.extend(info.until.map(|until| format!("on air until {}", date(until))));
    let has_expired = info.expires.is_some_and(|expires| expires <= SystemTime::now());
    match (info.revoked, info.expires) {
        (Some(revoked), _) => facts.push(format!("REVOKED {}", date(revoked))),
        (None, Some(expires)) if has_expired => facts.push(format!("EXPIRED {}", date(expires))),
        (None, Some(expires)) => facts.push(format!("expires {}", date(expires))),
        (None, None) => {}
    }
    let mut line = format!("{}  {:7} {}", info.id, info.action.as_str(), info.stream);
    if !facts.is_empty() {
        let _ = write!(line, "  {}", facts.join(", "));
    }
    line
}

/// How many keys were taken in.
#[derive(Serialize)]
struct Imported {
    imported: usize,
}

async fn import(keys: &Keys, file: &Path, json: bool) -> Result<(), Failure> {
    let text = read(file)?;
    let imported = match text.lines().next().is_some_and(|first| first.contains("\"hash_secret\"")) {
        true => keys.import(&Secret::new(text)).await?,
        false => import_existing(keys, &text).await?,
    };
    match json {
        true => output::print_json(&Imported { imported }),
        false => output::print_result(&format!("{imported} keys\n")),
    }
}

async fn import_existing(keys: &Keys, text: &str) -> Result<usize, Failure> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    // All are looked at before the first is taken in.
    let read: Vec<_> =
        lines.map(|(at, line)| Ok((at, existing(at, line)?))).collect::<Result<_, Failure>>()?;
    for (at, (key, new)) in &read {
        match keys.add_existing(key, new).await {
            Ok(_) => {}
            // What was taken in before a line that failed is there.
            Err(error) if error.kind() == ErrorKind::Exists => {}
            Err(error) => return Err(error.context(format!("line {}", at + 1)).into()),
        }
    }
    Ok(read.len())
}

fn existing(at: usize, line: &str) -> Result<(Secret, NewKey), Failure> {
    let fault = |what: &str| Failure::usage(format!("line {}: {what}", at + 1));
    match NewKey::from_json(line).map_err(|error| fault(&error.to_string()))? {
        (Some(key), new) => Ok((key, new)),
        (None, _) => Err(fault("there is no `key` in it")),
    }
}

/// Writes what others may not read.
fn write(file: &Path, text: &Secret) -> Result<(), Failure> {
    if file == Path::new("-") {
        return output::print_result(text.expose());
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file).and_then(|mut out| out.write_all(text.expose().as_bytes()));
    written.map_err(|error| Failure::running(format!("write {}: {error}", file.display())))
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(file).map(|read| text = read),
    };
    read.map_err(|error| Failure::usage(format!("read {}: {error}", file.display())))?;
    Ok(text)
}
