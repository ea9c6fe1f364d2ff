//! A tree as serde's source, with errors that say what to write instead. An entry that is null counts as absent, as
//! Kubernetes has it.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::node::{Node, Value};

/// A value is not of the type that its field has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string().chars().take(200).collect())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = expected.to_string();
        Self(match found {
            Unexpected::Bool(value) if wanted == "a string" => format!("{value} without quotes is no text: quote it"),
            Unexpected::Signed(number) if wanted == "a string" => format!("the number {number} is no text: quote it"),
            Unexpected::Float(_) if wanted == "a string" => "a number is no text: quote it".to_owned(),
            Unexpected::Str(text) => {
                let shown: String = text.chars().take(80).collect();
                format!("the text {shown:?} stands where {wanted} is expected")
            }
            Unexpected::Map => format!("a map stands where {wanted} is expected"),
            Unexpected::Seq => format!("a list stands where {wanted} is expected"),
            Unexpected::Unit => format!("nothing stands where {wanted} is expected"),
            other => format!("{other} stands where {wanted} is expected"),
        })
    }
}

impl<'de> Deserializer<'de> for &'de Node<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.read.set(true);
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter())),
            Value::Map(entries) => {
                let present = entries.iter().filter(|(_, node)| node.value != Value::Null);
                visitor.visit_map(MapDeserializer::new(present.map(|(key, node)| (&**key, node))))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier
    }
}

impl<'de> IntoDeserializer<'de, DecodeError> for &'de Node<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
