//! The OpenAPI 3.1 description, made from [`ROUTES`] and the types' JSON schemas.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::routes::{Body, Method, ParamPlace, ROUTES, Route};
use crate::{API_VERSION, ApiError};

/// The whole description.
pub fn openapi() -> Value {
    // OpenAPI 3.1 is JSON Schema 2020-12; only the place of shared schemas differs.
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator();
    let error = generator.subschema_for::<ApiError>().to_value();

    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut generator, &error);
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        let method = match route.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        entry[method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "musher control API",
            "version": format!("{API_VERSION}.0.0"),
            "description": "HTTP/1.1 and JSON on the unix socket `control.sock` in musher's home. \
                            Peers of the same user and root are let in; there is no other authentication.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://localhost", "description": "over the unix socket" }],
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn operation(route: &Route, generator: &mut schemars::SchemaGenerator, error: &Value) -> Value {
    let parameters: Vec<Value> = route
        .params
        .iter()
        .map(|param| {
            json!({
                "name": param.name,
                "in": match param.place { ParamPlace::Path => "path", ParamPlace::Query => "query" },
                "required": param.place == ParamPlace::Path,
                "description": param.summary,
                "schema": { "type": param.kind },
            })
        })
        .collect();
    let content = match route.response {
        Body::Json(schema) => json!({ "application/json": { "schema": schema(generator).to_value() } }),
        Body::EventStream(schema) => json!({ "text/event-stream": { "schema": schema(generator).to_value() } }),
        Body::Lines(schema) => json!({ "application/x-ndjson": { "schema": schema(generator).to_value() } }),
        Body::AnyJson => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    let mut operation = json!({
        "operationId": route.call.word(),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "success", "content": content },
            "default": {
                "description": "an error",
                "content": { "application/json": { "schema": error } },
            },
        },
    });
    if let Some(schema) = route.request {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": schema(generator).to_value() } },
        });
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::openapi;
    use crate::ROUTES;

    #[test]
    fn the_description_has_every_route_and_every_reference_leads_somewhere() {
        let document = openapi();
        for route in ROUTES {
            let method = format!("{:?}", route.method).to_lowercase();
            assert_eq!(document["paths"][route.path][&method]["operationId"], route.call.word());
        }
        let text = document.to_string();
        let mut rest = text.as_str();
        let mut references = 0;
        while let Some(at) = rest.find("\"$ref\":\"#") {
            rest = &rest[at + 9..];
            let end = rest.find('"').unwrap();
            assert!(document.pointer(&rest[..end]).is_some(), "{} leads nowhere", &rest[..end]);
            references += 1;
        }
        assert!(references > 10);
    }

    #[test]
    fn path_parameters_are_described() {
        for route in ROUTES {
            let in_path = route.path.matches('{').count();
            let described = route.params.iter().filter(|p| p.place == crate::ParamPlace::Path).count();
            assert_eq!(in_path, described, "{}", route.path);
        }
    }
}
