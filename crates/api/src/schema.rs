//! What objects of the mesh's own kinds may look like: OpenAPI v3 schemas, as CustomResourceDefinitions have them. They
//! have every field that Istio's kinds have, the ones that are not read included, so that a server keeps them. Which values
//! make sense together is for [`mod@crate::translate`] to say; here is what a server can say by itself.

use std::collections::BTreeMap;

use serde::Serialize;

mod definition;
mod destination_rule;
mod istio_gateway;
mod peer;
mod policy;
mod request_authentication;
mod selector;
mod service_entry;
mod status;
#[cfg(test)]
mod tests;
mod virtual_service;
mod workload_entry;

pub use definition::{Column, Definition};

/// A schema (apiextensions.k8s.io/v1 JSONSchemaProps), as far as the mesh's kinds need it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    /// What the value says.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: &'static str,
    /// Its type; none for an integer or a string.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Type>,
    /// `int32`, `double`, `byte`, `date-time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    /// All values there are.
    #[serde(rename = "enum", skip_serializing_if = "<[_]>::is_empty")]
    pub values: &'static [&'static str],
    /// It may be null.
    #[serde(skip_serializing_if = "is_false")]
    pub nullable: bool,
    /// The least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<u32>,
    /// The greatest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<u32>,
    /// How long a string is at least, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// How long a string is at most, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// What a string looks like (RE2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<&'static str>,
    /// What the entries of a list are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Schema>>,
    /// How many entries a list has at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u32>,
    /// How many entries a list has at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u32>,
    /// The field that tells the entries of a list apart.
    #[serde(rename = "x-kubernetes-list-map-keys", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<&'static str>,
    /// `map` for such a list.
    #[serde(rename = "x-kubernetes-list-type", skip_serializing_if = "Option::is_none")]
    pub list_type: Option<&'static str>,
    /// An object's fields.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<&'static str, Schema>,
    /// The fields that must be there.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub required: &'static [&'static str],
    /// What the values of a map are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_properties: Option<Box<Schema>>,
    /// How many entries a map has at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_properties: Option<u32>,
    /// How many entries a map has at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_properties: Option<u32>,
    /// Exactly one of these holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Branch>,
    /// All of these hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all_of: Vec<Choice>,
    /// One of these holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<Either>,
    /// An integer or a string.
    #[serde(rename = "x-kubernetes-int-or-string", skip_serializing_if = "is_false")]
    pub int_or_string: bool,
    /// Fields that are not listed are kept.
    #[serde(rename = "x-kubernetes-preserve-unknown-fields", skip_serializing_if = "is_false")]
    pub open: bool,
    /// What else must hold, in CEL (Kubernetes 1.25 and later).
    #[serde(rename = "x-kubernetes-validations", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Type {
    /// Fields or a map.
    Object,
    /// A list.
    Array,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
}

/// One of several that exclude one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Branch {
    /// The field is there.
    Required([&'static str; 1]),
    /// None of the fields is.
    Not(Neither),
}

/// Fields none of which is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Neither {
    any_of: Vec<Branch>,
}

/// Fields of which one is there at the most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    one_of: Vec<Branch>,
}

/// A type that will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Either {
    /// The type.
    #[serde(rename = "type")]
    kind: Type,
}

/// A rule in CEL, of which `self` is the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What is said to whom it is broken by.
    pub message: &'static str,
    /// What holds.
    pub rule: &'static str,
}

impl Schema {
    /// Its description.
    #[must_use]
    fn about(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Its text is one of these.
    #[must_use]
    fn of(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    /// It may be null.
    #[must_use]
    fn or_null(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// The least number, or the least number of characters or entries.
    #[must_use]
    fn at_least(mut self, least: u32) -> Self {
        *match self.kind {
            Some(Type::String) => &mut self.min_length,
            Some(Type::Array) => &mut self.min_items,
            Some(Type::Object) => &mut self.min_properties,
            _ => &mut self.minimum,
        } = Some(least);
        self
    }

    /// The greatest number, or the greatest number of characters or entries.
    #[must_use]
    fn at_most(mut self, most: u32) -> Self {
        *match self.kind {
            Some(Type::String) => &mut self.max_length,
            Some(Type::Array) => &mut self.max_items,
            Some(Type::Object) => &mut self.max_properties,
            _ => &mut self.maximum,
        } = Some(most);
        self
    }

    /// Its text looks like this (RE2).
    #[must_use]
    fn like(mut self, pattern: &'static str) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// These fields must be there.
    #[must_use]
    fn needs(mut self, fields: &'static [&'static str]) -> Self {
        self.required = fields;
        self
    }

    /// Of these fields one is there at the most. May be said twice.
    #[must_use]
    fn one_of(mut self, fields: &[&'static str]) -> Self {
        let there: Vec<_> = fields.iter().map(|field| Branch::Required([field])).collect();
        let mut branches = vec![Branch::Not(Neither { any_of: there.clone() })];
        branches.extend(there);
        match (self.one_of.is_empty(), self.all_of.is_empty()) {
            (true, true) => self.one_of = branches,
            (false, _) => {
                let earlier = std::mem::take(&mut self.one_of);
                self.all_of = vec![Choice { one_of: earlier }, Choice { one_of: branches }];
            }
            (true, false) => self.all_of.push(Choice { one_of: branches }),
        }
        self
    }

    /// Entries of the list are told apart by `field`.
    #[must_use]
    fn by(mut self, field: &'static str) -> Self {
        self.keys = vec![field];
        self.list_type = Some("map");
        self
    }

    /// This rule holds as well; `message` says so.
    #[must_use]
    fn rule(mut self, rule: &'static str, message: &'static str) -> Self {
        self.rules.push(Rule { message, rule });
        self
    }

    /// Fields that are not listed are kept.
    #[must_use]
    fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

fn of_type(kind: Type, description: &'static str) -> Schema {
    Schema { kind: Some(kind), description, ..Schema::default() }
}

fn object(description: &'static str, fields: impl IntoIterator<Item = (&'static str, Schema)>) -> Schema {
    Schema { properties: fields.into_iter().collect(), ..of_type(Type::Object, description) }
}

fn map(description: &'static str, values: Schema) -> Schema {
    Schema { additional_properties: Some(Box::new(values)), ..of_type(Type::Object, description) }
}

fn list(description: &'static str, items: Schema) -> Schema {
    Schema { items: Some(Box::new(items)), ..of_type(Type::Array, description) }
}

fn text(description: &'static str) -> Schema {
    of_type(Type::String, description)
}

/// A list of texts.
fn texts(description: &'static str) -> Schema {
    list(description, text(""))
}

/// A map of texts.
fn labels(description: &'static str) -> Schema {
    map(description, text(""))
}

fn boolean(description: &'static str) -> Schema {
    of_type(Type::Boolean, description)
}

fn int32(description: &'static str) -> Schema {
    Schema { format: Some("int32"), ..of_type(Type::Integer, description) }
}

/// A whole number from 0 on, of whatever size.
fn natural(description: &'static str) -> Schema {
    of_type(Type::Integer, description).at_least(0)
}

fn uint32(description: &'static str) -> Schema {
    natural(description).at_most(u32::MAX)
}

fn port(description: &'static str) -> Schema {
    of_type(Type::Integer, description).at_least(1).at_most(65535)
}

fn double(description: &'static str) -> Schema {
    Schema { format: Some("double"), ..of_type(Type::Number, description) }
}

/// A duration, such as `1.5s` or `100ms`; 1 ms or more.
fn duration(description: &'static str) -> Schema {
    text(description).rule("duration(self) >= duration('1ms')", "must be a duration of 1ms or more, such as 1.5s")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a field by reference")]
fn is_false(value: &bool) -> bool {
    !value
}
