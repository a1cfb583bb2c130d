//! Between values of JavaScript and JSON, with JavaScript's own rules (`JSON.stringify`).

use serde_json::{Map, Number, Value as Json};

use super::value::Value;

/// What becomes of a buffer in JSON.
///
/// ```
/// use musher_process::v8::{Buffers, Value};
/// use serde_json::json;
///
/// let value = Value::Buffer(vec![1, 2]);
/// assert_eq!(value.to_json(Buffers::Arrays), Some(json!([1, 2])));
/// assert_eq!(value.to_json(Buffers::Objects), Some(json!({"type": "Buffer", "data": [1, 2]})));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// An object `{"type":"Buffer","data":[…]}`, which is what Node makes of it.
    Objects,
    /// An array of numbers, which is what `Vec<u8>` is read from.
    Arrays,
}

impl Value {
    /// What `JSON.stringify` makes of it, but for a map or set, which Node loses: an array of its items (an object, if all
    /// keys of a map are strings). `None`: `undefined`.
    ///
    /// ```
    /// use musher_process::v8::{Buffers, Value};
    /// let value = Value::Set(vec![Value::Number(1.0), Value::Date(0.0)]);
    /// let json = value.to_json(Buffers::Objects).unwrap();
    /// assert_eq!(json.to_string(), r#"[1,"1970-01-01T00:00:00.000Z"]"#);
    /// ```
    #[must_use]
    pub fn to_json(&self, buffers: Buffers) -> Option<Json> {
        let item = |value: &Value| value.to_json(buffers).unwrap_or(Json::Null);
        Some(match self {
            Value::Undefined | Value::Circular(_) => return None,
            Value::Null => Json::Null,
            Value::Bool(bool) => Json::Bool(*bool),
            Value::Number(value) => number(*value),
            Value::BigInt(value) => match value.to_i128() {
                Some(small) => i64::try_from(small).map_or_else(|_| Json::String(small.to_string()), Json::from),
                None => Json::String(hexadecimal(value.negative, &value.bytes)),
            },
            Value::String(text) => Json::String(text.clone()),
            Value::Date(time) => iso_date(*time).map_or(Json::Null, Json::String),
            Value::RegExp { .. } => Json::Object(Map::new()),
            Value::Array(items) | Value::Set(items) => Json::Array(items.iter().map(item).collect()),
            Value::Object(members) => object(members.iter().map(|(name, value)| (name.as_str(), value)), buffers),
            Value::Map(pairs) => {
                let named: Option<Vec<_>> = pairs.iter().map(|(key, value)| Some((key.as_str()?, value))).collect();
                match named {
                    Some(named) => object(named.into_iter(), buffers),
                    None => {
                        let pair = |(key, value): &(Value, Value)| Json::Array(vec![item(key), item(value)]);
                        Json::Array(pairs.iter().map(pair).collect())
                    }
                }
            }
            Value::Buffer(bytes) if buffers == Buffers::Objects => {
                serde_json::json!({"type": "Buffer", "data": bytes})
            }
            Value::Buffer(bytes) | Value::ArrayBuffer(bytes) | Value::View(_, bytes) => Json::from(bytes.as_slice()),
            Value::Error(error) => {
                let text = |text: &Option<String>| text.clone().map_or(Json::Null, Json::String);
                serde_json::json!({"name": error.name, "message": text(&error.message), "stack": text(&error.stack)})
            }
        })
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(bool) => Value::Bool(*bool),
            Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => Value::Array(items.iter().map(Value::from).collect()),
            Json::Object(members) => {
                Value::Object(members.iter().map(|(name, value)| (name.clone(), Value::from(value))).collect())
            }
        }
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a str, &'a Value)>, buffers: Buffers) -> Json {
    Json::Object(members.filter_map(|(name, value)| Some((name.to_owned(), value.to_json(buffers)?))).collect())
}

/// A number without a fraction is an integer, as long as every integer up to it is a number.
fn number(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return Json::from(value as i64);
    }
    Number::from_f64(value).map_or(Json::Null, Json::Number)
}

fn hexadecimal(negative: bool, bytes: &[u8]) -> String {
    let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    format!("{}0x{}", if negative { "-" } else { "" }, digits.trim_start_matches('0'))
}

/// `Date.prototype.toISOString`; `None` for a date that is none.
fn iso_date(time: f64) -> Option<String> {
    if !time.is_finite() || time.abs() > 8.64e15 {
        return None;
    }
    let milliseconds = time as i64;
    let (days, within) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    // The days of eras of 400 years that begin on the first of March.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{}{:06}", if year < 0 { '-' } else { '+' }, year.abs()),
    };
    let (hour, minute, second) = (within / 3_600_000, within / 60_000 % 60, within / 1000 % 60);
    Some(format!("{year}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", within % 1000))
}
