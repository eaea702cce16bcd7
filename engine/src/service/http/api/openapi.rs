//! The description of the API (OpenAPI 3.1), made of its table and of the types that it replies with.

use super::operations::{Act, OPERATIONS, Operation, ROOT, Takes};
use super::problem::ProblemTold;
use bytes::Bytes;
use schemars::Schema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The description, as it is served.
pub(super) fn document() -> Bytes {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&described()).unwrap_or_default();
        text.push('\n');
        text.into()
    });
    DOCUMENT.clone()
}

fn described() -> Value {
    let mut taken = SchemaSettings::draft2020_12().with(settings).for_deserialize().into_generator();
    let mut told = SchemaSettings::draft2020_12().with(settings).for_serialize().into_generator();
    let problem = told.subschema_for::<ProblemTold<'_>>();
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(format!("{ROOT}{}", operation.path)).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            let method = operation.method.as_str().to_ascii_lowercase();
            methods.insert(method, described_operation(operation, &mut told, &mut taken, &problem));
        }
    }
    let mut schemas = taken.take_definitions(true);
    schemas.append(&mut told.take_definitions(true));
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "streamengine",
            "version": "1",
            "description": "Watches and steers a streamengine. The role of an operation is in `x-role`: `viewer` or `admin`, by \
                a token of `[[http.token]]`, by the cookie of a login, or by an address of `http.stat_allow` or `http.control_allow`.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "streamengine" },
            },
        },
    });
    speak_of_json(&mut document);
    document
}

fn settings(settings: &mut SchemaSettings) {
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
}

fn described_operation(
    operation: &Operation,
    told: &mut SchemaGenerator,
    taken: &mut SchemaGenerator,
    problem: &Schema,
) -> Value {
    let ok = match operation.reply {
        Some(_) if operation.act == Act::Events => json!({
            "description": "Events until one side has enough.",
            "content": { "text/event-stream": { "schema": { "type": "string" } } },
        }),
        Some(schema) => json!({
            "description": "What was asked for, or what has come of it.",
            "content": { "application/json": { "schema": schema(told) } },
        }),
        None => json!({ "description": "It is done." }),
    };
    let wrong = json!({
        "description": "What is wrong.",
        "content": { "application/problem+json": { "schema": problem } },
    });
    let mut described = json!({
        "operationId": format!("{:?}", operation.act),
        "summary": operation.about,
        "parameters": parameters(operation),
        "responses": { operation.status.to_string(): ok, "default": wrong },
    });
    if let Some((content, is_required)) = body(&operation.takes, taken) {
        described["requestBody"] = json!({ "required": is_required, "content": content });
    }
    if let Some(role) = operation.role {
        described["x-role"] = role.as_str().into();
        // By address, too, where the configuration says so.
        described["security"] = json!([{ "token": [] }, { "session": [] }, {}]);
    }
    described
}

/// The body that is taken, by its types, and whether it has to be there.
fn body(takes: &Takes, taken: &mut SchemaGenerator) -> Option<(Value, bool)> {
    Some(match takes {
        Takes::Nothing => return None,
        Takes::Json(schema) | Takes::Password(schema) => {
            (json!({ "application/json": { "schema": schema(taken) } }), true)
        }
        Takes::Perhaps(schema) => (json!({ "application/json": { "schema": schema(taken) } }), false),
        Takes::Config(schema) => {
            let toml = json!({ "schema": { "type": "string" } });
            (json!({ "application/json": { "schema": schema(taken) }, "application/toml": toml }), true)
        }
    })
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        let (about, schema) = match name {
            "stream" => ("The name, its slashes encoded: `live%2Fa`.", json!({ "type": "string" })),
            "key" => ("What the key is called by: the part before its dash.", json!({ "type": "string" })),
            "alias" => ("The alias.", json!({ "type": "string" })),
            _ => ("The number.", json!({ "type": "integer", "format": "uint64" })),
        };
        json!({ "name": name, "in": "path", "required": true, "description": about, "schema": schema })
    });
    let in_query = operation.query.iter().map(|(name, about)| {
        json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } })
    });
    in_path.chain(in_query).collect()
}

/// Takes what is of Rust only out of all descriptions: they are the comments of the sources.
fn speak_of_json(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if name == "description" => *text = in_json(text),
                    value => speak_of_json(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(speak_of_json),
        _ => {}
    }
}

/// A comment of the sources without the targets of its links.
fn in_json(comment: &str) -> String {
    let mut text = String::new();
    let mut rest = comment;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, after)) = after.split_once("`]") else { break };
        let is_linked = after.starts_with('(');
        let after = after.split_once(')').filter(|_| is_linked).map_or(after, |(_, after)| after);
        text.extend([before, "`", name, "`"]);
        rest = after;
    }
    text.push_str(rest);
    text.replace("`None`", "`null`").replace('\n', " ")
}
