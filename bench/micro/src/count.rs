//! Runs one hot path a number of times, in a function that an instruction counter can be told to count alone.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use streamengine_bench::{NAMES, Path, path};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["names"] {
        NAMES.iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let [name, warm_up, steps] = arguments.as_slice() else { return usage() };
    let (Ok(warm_up), Ok(steps)) = (warm_up.parse(), steps.parse()) else { return usage() };
    match path(name) {
        Ok(Some(mut path)) => {
            repeat(path.as_mut(), warm_up);
            counted_steps(path.as_mut(), steps);
            ExitCode::SUCCESS
        }
        Ok(None) => usage(),
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn repeat(path: &mut dyn Path, steps: u32) {
    (0..steps).for_each(|_| path.step());
}

/// What is counted. Its name is known to `bench/instructions`.
#[inline(never)]
fn counted_steps(path: &mut dyn Path, steps: u32) {
    repeat(path, steps);
}

fn usage() -> ExitCode {
    println!("usage: count names | count NAME WARM-UP-STEPS COUNTED-STEPS");
    ExitCode::from(2)
}
