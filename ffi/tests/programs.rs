//! C programs against the shared library.
#![cfg(target_os = "linux")]

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use support::Function;

fn run_c(name: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/c/{name}.c"));
    let Some(program) = support::compile_c(&source, name, &[]) else { return };
    let identity = identity();
    let mut command = Command::new(program);
    command.arg(support::root().join("examples/media/demo.flv")).arg(identity.path());
    let output = support::run(&mut command);
    assert!(output.trim_end().ends_with("done"), "{output}");
}

/// A folder with `cert.pem` and `key.pem`.
fn identity() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    folder
}

#[test]
fn engines_configurations_listeners_and_errors() {
    run_c("lifecycle");
}

#[test]
fn relays_files_events_authorisation_and_statistics() {
    run_c("streams");
}

#[test]
fn players_over_http_the_doors_by_which_requests_come_and_origins() {
    run_c("http");
}

#[test]
fn every_function_refuses_null_and_garbage_ids() {
    run_generated("refuses", &refusing_program());
}

#[test]
fn every_function_refuses_handles_that_are_freed_or_of_another_type() {
    run_generated("strangers", &strangers_program());
}

/// Compiles and runs a program that is made here, and says "done" at its end.
fn run_generated(name: &str, text: &str) {
    let source = support::work_dir().join(format!("{name}.c"));
    std::fs::write(&source, text).unwrap();
    let Some(program) = support::compile_c(&source, name, &[]) else { return };
    let output = support::run(&mut Command::new(program));
    assert!(output.trim_end().ends_with("done"), "{output}");
}

#[test]
fn a_handle_is_freed_a_thousand_times_under_the_calls_of_other_threads() {
    run_c("freed");
}

#[test]
fn a_forked_child_gets_errors_and_does_not_hang() {
    run_c("forked");
}

/// Each function with a handle that is freed, and with a live one of another type, which stays alive.
fn strangers_program() -> String {
    let mut body = String::new();
    let handles = ["engine", "publisher", "subscriber", "frame_ref", "event_ref", "config"];
    for function in support::functions() {
        let of = |handle: &&&str| {
            function
                .parameters
                .first()
                .is_some_and(|kind| kind.trim_start_matches("const ") == format!("struct se_{handle} *"))
        };
        let Some(own) = handles.iter().find(of) else { continue };
        let other = handles.iter().find(|handle| *handle != own).unwrap();
        for (first, code) in [
            (format!("(void *)live_{other}"), "SE_E_INVALID_ARGUMENT"),
            (format!("freed_{own}"), "SE_E_CLOSED"),
        ] {
            let rest = function.parameters.iter().skip(1).map(|kind| match kind.as_str() {
                kind if kind.contains('*') || kind.ends_with("_fn") => ", NULL",
                _ => ", 0",
            });
            let call = format!("{}({first}{})", function.name, rest.collect::<String>());
            // Some look at another argument first, and refuse that.
            let _ = writeln!(
                body,
                "  forget(); {}{call}; refused(\"{call}\", {code});",
                if function.returns == "void" { "" } else { "(void)!" }
            );
        }
    }
    format!(
        r#"#include "{check}"
static int failures;
static void forget(void) {{ se_status status = se_log_set_callback(99, NULL, NULL, NULL); CHECK(status == SE_E_INVALID_ARGUMENT); }}
static void refused(const char *call, se_status code) {{
  if (SAYS("se_log_level") || (se_last_status() != code && se_last_status() != SE_E_INVALID_ARGUMENT)) {{
    failures++;
    printf("%s: %s\n", call, se_last_error());
  }}
}}
struct all {{ se_engine *engine; se_publisher *publisher; se_subscriber *subscriber; se_frame_ref *frame_ref; se_event_ref *event_ref; se_config *config; }};
static void make(struct all *all) {{
  static const uint8_t keyframe[] = {{0x17, 1, 0, 0, 0, 1}};
  all->engine = started(NULL, NULL);
  all->config = se_config_new();
  OK(se_publisher_open(all->engine, "live/a", NULL, &all->publisher));
  OK(se_subscriber_open(all->engine, "live/a", NULL, &all->subscriber));
  OK(se_publisher_push_flv_tag(all->publisher, 9, 0, keyframe, sizeof keyframe));
  OK(se_subscriber_next(all->subscriber, -1, &all->frame_ref));
  all->event_ref = await(all->engine, SE_EVENT_STREAM_STARTED);
}}
static void end(struct all *all) {{
  se_frame_ref_free(all->frame_ref); se_event_ref_free(all->event_ref); se_config_free(all->config);
  se_subscriber_free(all->subscriber); se_publisher_free(all->publisher); se_engine_free(all->engine);
}}
int main(void) {{
  struct all live, freed;
  make(&live); make(&freed); end(&freed);
{names}
{body}
  forget(); end(&live);
  CHECK(SAYS("se_log_level")); /* all of them were alive */
  puts(failures ? "failed" : "done");
  return failures;
}}
"#,
        check = support::root().join("ffi/tests/c/check.h").display(),
        names = handles
            .iter()
            .flat_map(|handle| ["live", "freed"]
                .map(|which| format!("#define {which}_{handle} {which}.{handle}\n")))
            .collect::<String>(),
    )
}

/// These take NULL for a callback that is to be no more.
const SUCCEED: &[&str] =
    &["se_log_set_callback", "se_engine_set_event_callback", "se_engine_set_auth_callback"];

/// These give all where a filter or a configuration is NULL: that is what asking for everything looks like.
fn takes_null(function: &str) -> bool {
    // The engine here has no database of keys, and files are asked for by stream.
    let refuses = ["se_keys_json", "se_recorded_files_json"];
    (function.ends_with("_json") && !refuses.contains(&function)) || function == "se_engine_reload"
}

fn refusing_program() -> String {
    let mut body = String::new();
    // What takes nothing has nothing to refuse.
    for function in support::functions().into_iter().filter(|function| !function.parameters.is_empty()) {
        call(&mut body, &function, "NULL");
        // With an engine that runs: what else is wrong counts, not that the engine is missing.
        let is_of_engine =
            function.parameters.first().is_some_and(|first| first.contains("struct se_engine *"));
        let ends_engine = ["se_engine_free", "se_engine_stop"].contains(&function.name.as_str());
        let has_more = function.parameters.iter().skip(1).any(|kind| kind.contains('*') || kind == "se_id");
        if is_of_engine && has_more && !ends_engine {
            call(&mut body, &function, "engine");
        }
    }
    format!(
        r#"#include <stdio.h>
#include <string.h>
#include <streamengine.h>
static int failures;
static void check(int ok, const char *what) {{
  if (!ok) {{ failures++; printf("%s: %s\n", what, se_last_error()); }}
}}
int main(void) {{
  static const se_id garbage[] = {{ 0, 0xdeadbeef, UINT64_MAX }};
  struct se_engine *engine = NULL;
  size_t i;
  if (se_engine_new(NULL, &engine) != SE_OK || se_engine_start(engine) != SE_OK) return 1;
  for (i = 0; i < sizeof garbage / sizeof *garbage; i++) {{
    const se_id id = garbage[i];
    (void)id;
{body}  }}
  se_engine_free(engine);
  puts(failures ? "failed" : "done");
  return failures;
}}
"#
    )
}

/// One call with nothing but NULL, 0 and garbage, and what must come of it.
fn call(body: &mut String, function: &Function, engine: &str) {
    let Function { name, returns, parameters } = function;
    let argument = |kind: &String| match kind.as_str() {
        kind if kind.contains("struct se_engine *") && !kind.contains("**") => engine,
        kind if kind.contains('*') || kind.ends_with("_fn") => "NULL",
        "se_id" => "id",
        _ => "0",
    };
    let arguments = parameters.iter().map(argument).collect::<Vec<_>>().join(", ");
    let call = format!("{name}({arguments})");
    let line = match returns.as_str() {
        "void" => format!("{call};"),
        // These have something to say about any number.
        _ if parameters.iter().all(|kind| !kind.contains('*')) && parameters.len() == 1 => {
            format!("(void)!{call};")
        }
        kind if kind.ends_with('*') && engine == "engine" && takes_null(name) => {
            format!("{{ char *all = {call}; check(all != NULL, \"{call}\"); se_string_free(all); }}")
        }
        kind if kind.ends_with('*') => format!("check({call} == NULL, \"{call}\");"),
        "int" => format!("check({call} == -1, \"{call}\");"),
        _ if SUCCEED.contains(&name.as_str()) && (engine == "engine" || name.starts_with("se_log")) => {
            format!("check({call} == SE_OK, \"{call}\");")
        }
        _ => format!("check({call} < 0, \"{call}\"); check(*se_last_error() != 0, \"{call}: no text\");"),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(body, "    {line}");
}
