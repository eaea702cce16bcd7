//! How long an engine takes to decide about a publisher with a key, among few and among many keys, in SQLite or, where the
//! URL of an empty database is given, in PostgreSQL. Publishers come at a fixed rate, however long the answers take.
#![allow(clippy::print_stdout)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use streamengine::testing::KeyGate;
use streamengine::{Keys, Secret};
use tokio::runtime::Handle;

const RATE: u32 = 1_000;
const TIME: Duration = Duration::from_secs(10);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let server = std::env::args().nth(1);
    let mut had = 0;
    for count in [1_000, 100_000] {
        let file = || folder.path().join(format!("{count}.db")).to_string_lossy().into_owned();
        let keys = Keys::open(&Secret::new(server.clone().unwrap_or_else(file))).await?;
        let first = if server.is_some() { had } else { 0 };
        keys.import(&filled(&keys, first..count).await?).await?;
        had = count;
        let mut times = measure(&keys, count).await?;
        times.sort_unstable();
        let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e3;
        println!(
            "{count:7} keys, {RATE} publishers/s: {} decisions, ms: median {:.3}, 99 % {:.3}, most {:.3}",
            times.len(),
            at(0.5),
            at(0.99),
            times[times.len() - 1].as_secs_f64() * 1e3
        );
    }
    Ok(())
}

fn key(number: u32) -> String {
    format!("{number:010}-abcdefghjkmnpqrstvwxyz0123")
}

/// So many keys as another database would export them.
async fn filled(keys: &Keys, numbers: std::ops::Range<u32>) -> Result<Secret, Box<dyn Error>> {
    let exported = keys.export().await?;
    let head = exported.expose().lines().next().unwrap_or_default();
    let secret: serde_json::Value = serde_json::from_str(head)?;
    let secret = STANDARD.decode(secret["hash_secret"].as_str().unwrap_or_default())?;
    let (secret, mut lines) = (hmac::Key::new(hmac::HMAC_SHA256, &secret), format!("{head}\n"));
    for number in numbers {
        let hash = STANDARD.encode(hmac::sign(&secret, key(number).as_bytes()));
        writeln!(
            lines,
            r#"{{"id":"{number:010}","hash":"{hash}","action":"publish","stream":"live/s{number}","who":null,"max_kbps":6000,"max_viewers":null,"expires":null,"until":null,"created":0,"revoked":null}}"#
        )?;
    }
    Ok(Secret::new(lines))
}

/// From when each publisher was due to the answer. A thread of its own lets them in: tokio's timers are a millisecond coarse.
async fn measure(keys: &Keys, count: u32) -> Result<Vec<Duration>, Box<dyn Error>> {
    let (gate, runtime) = (Arc::new(KeyGate::new(keys)), Handle::current());
    let letting_in = move || -> Vec<_> {
        let start = Instant::now() + Duration::from_millis(100);
        let decisions = (0..RATE * TIME.as_secs() as u32).map(|number| {
            let (gate, due) = (gate.clone(), start + Duration::from_secs(1) * number / RATE);
            // Spread over all of them.
            let key = key((u64::from(number) * 7_919 % u64::from(count)) as u32);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            runtime.spawn(async move { gate.decide(&key).await.map(|_| due.elapsed()) })
        });
        decisions.collect()
    };
    let asked = tokio::task::spawn_blocking(letting_in).await?;
    let mut times = Vec::with_capacity(asked.len());
    for decision in asked {
        times.push(decision.await??);
    }
    Ok(times)
}
