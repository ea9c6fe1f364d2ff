use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::*;
use crate::{Kind, Object};

/// Where the objects are declared that are read.
const SOURCES: [&str; 8] = [
    include_str!("../object/virtual_service.rs"),
    include_str!("../object/virtual_service/resilience.rs"),
    include_str!("../object/destination_rule.rs"),
    include_str!("../object/service_entry.rs"),
    include_str!("../object/workload_entry.rs"),
    include_str!("../object/policy.rs"),
    include_str!("../object/request_authentication.rs"),
    include_str!("../object/istio_gateway.rs"),
];

/// The fields of every struct, by the names that they have in JSON, with their types.
type Structs = BTreeMap<String, Vec<(String, String)>>;

fn structs() -> Structs {
    let mut structs = Structs::new();
    for source in SOURCES {
        let (mut camel, mut renamed, mut flat, mut open) = (false, String::new(), false, None);
        for line in source.lines().map(str::trim) {
            if line.starts_with("#[serde(") {
                camel = if open.is_none() { line.contains("camelCase") } else { camel };
                flat |= line.contains("flatten");
                renamed = between(line, "rename = \"", "\"").unwrap_or_default().to_owned();
            } else if let Some(name) = between(line, "pub struct ", " {") {
                open = Some(name.to_owned());
            } else if line == "}" {
                open = None;
            } else if let (Some(name), Some((field, kind))) = (&open, field(line)) {
                let field = match (std::mem::take(&mut renamed), camel) {
                    (renamed, _) if !renamed.is_empty() => renamed,
                    (_, true) => camel_case(field),
                    (_, false) => field.to_owned(),
                };
                if !std::mem::take(&mut flat) {
                    structs.entry(name.clone()).or_default().push((field, kind.to_owned()));
                }
            }
        }
    }
    structs
}

fn field(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("pub ")?.strip_suffix(',')?.split_once(": ")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
}

/// What has been looked up: the fields that some schema has, and those that one lacks.
#[derive(Default)]
struct Seen {
    there: BTreeSet<(String, String)>,
    missing: BTreeSet<(String, String)>,
}

/// Goes through what a value of `kind` is read by, `schema` beside it.
fn compare(kind: &str, schema: &Schema, path: &str, structs: &Structs, seen: &mut Seen) {
    let inner = |outer: &str| kind.strip_prefix(outer).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inner("Option<").or_else(|| inner("Box<")) {
        compare(inner, schema, path, structs, seen);
    } else if let Some(inner) = inner("Vec<") {
        let items = schema.items.as_deref().unwrap_or_else(|| panic!("{path} is no list"));
        compare(inner, items, &format!("{path}[]"), structs, seen);
    } else if let Some(inner) = inner("BTreeMap<String, ") {
        let values: Vec<_> =
            schema.additional_properties.as_deref().into_iter().chain(schema.properties.values()).collect();
        assert!(!values.is_empty(), "{path} is no map");
        values.into_iter().for_each(|values| compare(inner, values, &format!("{path}.*"), structs, seen));
    } else if let Some(fields) = structs.get(kind) {
        for (field, of) in fields {
            let found = schema.properties.get(field.as_str());
            let set = if found.is_some() { &mut seen.there } else { &mut seen.missing };
            set.insert((kind.to_owned(), field.clone()));
            found.into_iter().for_each(|schema| compare(of, schema, &format!("{path}.{field}"), structs, seen));
        }
    } else {
        let fits = match kind {
            "String" => schema.kind == Some(Type::String),
            "i64" => schema.kind == Some(Type::Integer),
            "f64" => matches!(schema.kind, Some(Type::Integer | Type::Number)),
            "bool" => schema.kind == Some(Type::Boolean),
            "IgnoredAny" => true,
            other => panic!("{path} is read as {other}, of which nothing is known"),
        };
        assert!(fits, "{path} is read as {kind}, and {:?} by its schema", schema.kind);
    }
}

#[test]
fn every_field_that_is_read_is_one_that_servers_keep() {
    let (structs, mut seen) = (structs(), Seen::default());
    for definition in Definition::all() {
        let name = definition.kind.as_str();
        compare(&format!("{name}Spec"), &definition.schema.properties["spec"], name, &structs, &mut seen);
    }
    // A type may stand for two of Istio's, of which one has less.
    let lost: Vec<_> = seen.missing.difference(&seen.there).collect();
    assert!(lost.is_empty(), "read, and in no schema: {lost:?}");
    assert!(seen.there.len() > 180, "{} fields are compared", seen.there.len());
}

#[test]
fn an_object_with_every_field_that_servers_keep_is_one_that_is_read() {
    for definition in Definition::all() {
        let mut object = sample(&definition.schema);
        object["metadata"] = json!({"name": "one"});
        let read =
            Object::read(definition.kind, &object).unwrap_or_else(|error| panic!("{}: {error}", definition.kind));
        assert_eq!(read.kind(), definition.kind);
    }
}

fn sample(schema: &Schema) -> Value {
    match schema.kind {
        Some(Type::Object) => {
            let fields = schema.properties.iter().map(|(name, schema)| ((*name).to_owned(), sample(schema)));
            let entries = schema.additional_properties.iter().map(|schema| ("80".to_owned(), sample(schema)));
            Value::Object(fields.chain(entries).collect::<Map<_, _>>())
        }
        Some(Type::Array) => Value::Array(schema.items.iter().map(|items| sample(items)).collect()),
        Some(Type::String) => json!(schema.values.first().copied().unwrap_or("1s")),
        Some(Type::Integer) | None => json!(schema.minimum.unwrap_or(1)),
        Some(Type::Number) => json!(0.5),
        Some(Type::Boolean) => json!(true),
    }
}

#[test]
fn every_kind_of_istios_that_the_mesh_acts_on_is_defined_in_every_version() {
    let wanted =
        Kind::ALL.into_iter().filter(|kind| kind.versions().iter().all(|version| version.contains(".istio.io/")));
    let definitions = Definition::all();
    assert_eq!(definitions.iter().map(|one| one.kind).collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    for definition in definitions {
        let value = serde_json::to_value(&definition).unwrap();
        let versions = value["spec"]["versions"].as_array().unwrap();
        let stored: Vec<_> = versions.iter().filter(|one| one["storage"] == true).map(|one| &one["name"]).collect();
        assert_eq!(stored, ["v1"], "{}", definition.kind);
        let served = versions.iter().map(|one| format!("{}/{}", definition.group(), one["name"].as_str().unwrap()));
        assert_eq!(served.collect::<Vec<_>>(), definition.kind.versions(), "{}", definition.kind);
    }
}

#[test]
fn every_field_is_described_and_every_rule_says_what_it_wants() {
    fn walk(schema: &Schema, path: &str) {
        for rule in &schema.rules {
            let open = rule.rule.matches(['(', '[', '{']).count();
            assert_eq!(open, rule.rule.matches([')', ']', '}']).count(), "{path}: {}", rule.rule);
            assert!(!rule.message.is_empty() && rule.rule.contains("self"), "{path}: {}", rule.rule);
        }
        for (name, field) in &schema.properties {
            let path = format!("{path}.{name}");
            assert!(!field.description.is_empty(), "{path} is not described");
            walk(field, &path);
        }
        schema.items.iter().chain(&schema.additional_properties).for_each(|inner| walk(inner, &format!("{path}[]")));
    }
    Definition::all().iter().for_each(|definition| walk(&definition.schema, definition.kind.as_str()));
}

#[test]
fn what_excludes_one_another_is_written_as_structural_schemas_have_it() {
    let schema = object("", [("a", text("")), ("b", text(""))]).one_of(&["a", "b"]);
    let expected = json!([
        {"not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}},
        {"required": ["a"]},
        {"required": ["b"]},
    ]);
    let value = serde_json::to_value(schema.clone()).unwrap();
    assert_eq!(value["oneOf"], expected);
    let value = serde_json::to_value(schema.one_of(&["c"])).unwrap();
    assert_eq!(value["allOf"][0]["oneOf"], expected);
    assert_eq!(value["allOf"][1]["oneOf"][1], json!({"required": ["c"]}));
    assert!(value.get("oneOf").is_none());
}
