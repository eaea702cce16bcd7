//! `passwd`: the hash of the password by which one logs in to a server over HTTP.

use crate::args::PasswdArgs;
use crate::{Failure, output};
use std::io::{BufRead, IsTerminal};
use streamengine::{PasswordHash, Secret};

/// Asks for a password; prints what a configuration has of it, or writes it to a file.
pub(crate) fn run(args: &PasswdArgs) -> Result<(), Failure> {
    let password = if std::io::stdin().is_terminal() { asked()? } else { of_stdin()? };
    let hash = PasswordHash::make(password.expose())?;
    if let Some(path) = &args.file {
        return Ok(hash.write(path)?);
    }
    output::print_result(&format!("[http]\npassword = \"{}\"\n", hash.expose()))
}

/// Asks twice, without showing what is typed.
fn asked() -> Result<Secret, Failure> {
    let ask = |prompt| {
        let failed = |cause| Failure::running(format!("read the password: {cause}"));
        rpassword::prompt_password(prompt).map(Secret::new).map_err(failed)
    };
    let password = ask("Password: ")?;
    match ask("Again: ")? == password {
        true => Ok(password),
        false => Err(Failure::usage("the two are not the same; nothing is changed")),
    }
}

/// The first line.
fn of_stdin() -> Result<Secret, Failure> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|cause| Failure::running(format!("read the password: {cause}")))?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
