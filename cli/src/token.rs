//! `token`: makes a token for who manages a server over HTTP.

use crate::args::TokenArgs;
use crate::{Failure, output};
use serde::Serialize;
use streamengine::HttpTokenConfig;

/// A token that has just been made, as JSON.
#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    #[serde(flatten)]
    config: &'a HttpTokenConfig,
}

/// Prints a new token, and what a configuration has of it.
pub(crate) fn run(args: &TokenArgs) -> Result<(), Failure> {
    let (token, config) = HttpTokenConfig::make(&args.name, args.role)?;
    if args.json {
        return output::print_json(&Made { token: token.expose(), config: &config });
    }
    // Strings of JSON are strings of TOML.
    let name = serde_json::Value::from(args.name.as_str());
    let HttpTokenConfig { role, sha256, .. } = &config;
    output::print_result(&format!(
        "{}\n\nThis is shown once. Send it as Authorization: Bearer TOKEN. The server knows it by these lines in its configuration:\n\n\
         [[http.token]]\nname = {name}\nrole = \"{role}\"\nsha256 = \"{sha256}\"\n",
        token.expose()
    ))
}
