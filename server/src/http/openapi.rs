// SPDX-License-Identifier: GPL-3.0-or-later
//! OpenAPI 3.1 of the API, made of the one list of routes and of its examples: `GET /api/v1/openapi.json`, and
//! docs/openapi.json (`make docs`).

use super::routes::{ROUTES, Route, Who, examples};
use serde_json::{Map, Value, json};

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|r| r.path.starts_with("/api/")) {
        let at = paths.entry(route.path).or_insert_with(|| json!({}));
        at[route.method] = operation(route);
    }
    let mut schemas = Map::new();
    for (name, example) in examples() {
        let value: Value = serde_json::from_str(&example).expect("an example is JSON");
        let mut schema = schema(&value);
        schema["example"] = value;
        schemas.insert(name.to_owned(), schema);
    }
    schemas.insert("Error".into(), schema(&json!({"status": 404, "error": "one sentence"})));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "BootTorrent",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "servers": [{"url": "https://localhost:6982"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(route: &Route) -> Value {
    let words = |text: &str| text.replace('`', "");
    let name = route.path.trim_start_matches("/api/v1/").replace(['{', '}'], "").replace('/', "-");
    let refused = json!({"description": "refused", "content": content(reference("Error"))});
    let (status, answer) = match route.answers.starts_with("nothing") {
        true => ("204", json!({"description": words(route.answers)})),
        false => {
            let description = words(route.answers);
            ("200", json!({"description": description, "content": content(answered(route.answers))}))
        }
    };
    let mut operation = json!({
        "operationId": format!("{}-{name}", route.method),
        "summary": words(route.answers),
        "parameters": parameters(route),
        "responses": {status: answer, "4XX": refused},
        "security": match route.who {
            Who::Everybody => json!([]),
            // Without the token too, unless the settings say otherwise.
            Who::Listing => json!([{}, {"token": []}]),
            Who::Changing | Who::Relay => json!([{"token": []}]),
        },
    });
    let body = match named(route.takes) {
        Some(body) => Some(reference(body)),
        None => Some(json!({"type": "object"}))
            .filter(|_| !route.takes.is_empty() && !route.takes.starts_with("`?")),
    };
    if let Some(body) = body {
        operation["requestBody"] = json!({"required": true, "content": content(body)});
    }
    operation
}

fn content(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The first type that a text names, of those that have an example.
fn named(text: &str) -> Option<&'static str> {
    let known = examples().into_iter().map(|(name, _)| name);
    let first = text.split('`').skip(1).step_by(2).next()?.to_owned();
    known.into_iter().find(|name| *name == first)
}

fn answered(text: &str) -> Value {
    let list = text.starts_with("list of") || text.starts_with("every ");
    let one = named(text).map_or(json!({"type": "object"}), reference);
    if list { json!({"type": "array", "items": one}) } else { one }
}

/// What stands in the path, and in the query.
fn parameters(route: &Route) -> Vec<Value> {
    let parameter = |name: &str, place: &str| json!({"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}});
    let in_path = route.path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}'));
    let query = route.takes.strip_prefix("`?").and_then(|rest| rest.split('`').next()).unwrap_or_default();
    let in_query = query.split('&').filter(|q| !q.is_empty()).map(|q| q.split('=').next().unwrap_or(q));
    in_path.map(|n| parameter(n, "path")).chain(in_query.map(|n| parameter(n, "query"))).collect()
}

/// The types of an example.
fn schema(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), schema(value))).collect();
            json!({"type": "object", "properties": fields})
        }
        Value::Array(items) => json!({"type": "array", "items": items.first().map_or(json!({}), schema)}),
        Value::String(_) => json!({"type": "string"}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(n) if n.is_f64() => json!({"type": "number"}),
        Value::Number(_) => json!({"type": "integer"}),
        Value::Null => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let on_disk = std::fs::read_to_string(path).expect("reading docs/openapi.json");
        let now = serde_json::to_string_pretty(&document()).unwrap();
        assert!(on_disk.trim_end() == now, "docs/openapi.json is stale: run `make docs`");
    }

    /// `snake_case`, in whichever type: who writes a program guesses no names.
    #[test]
    fn all_names_are_in_one_style() {
        fn names(value: &Value, found: &mut Vec<String>) {
            if let Some(properties) = value.get("properties").and_then(Value::as_object) {
                found.extend(properties.keys().cloned());
            }
            match value {
                Value::Object(all) => all.values().for_each(|v| names(v, found)),
                Value::Array(all) => all.iter().for_each(|v| names(v, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        names(&document(), &mut found);
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let odd: Vec<&String> = found.iter().filter(|name| !name.bytes().all(fine)).collect();
        assert!(found.len() > 50 && odd.is_empty(), "{odd:?}");
    }

    #[test]
    fn every_route_of_the_api_is_in_it_and_nothing_else() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let mut told: Vec<String> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        let api = ROUTES.iter().filter(|r| r.path.starts_with("/api/"));
        let mut are: Vec<String> = api.map(|r| format!("{} {}", r.method, r.path)).collect();
        told.sort();
        are.sort();
        assert_eq!(told, are);
        // Nothing is referred to that is not there.
        let text = document.to_string();
        for name in text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let change = &paths["/api/v1/hosts/{key}"]["put"];
        assert_eq!(change["parameters"][0]["name"], "key");
        assert_eq!(
            change["requestBody"]["content"]["application/json"]["schema"]["$ref"],
            "#/components/schemas/HostChange"
        );
        assert_eq!(change["security"], json!([{"token": []}]));
    }
}
