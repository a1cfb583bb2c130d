//! What people and programs read of a run.

mod compare;
mod csv;
mod drawn;
mod page;
mod plot;
mod summary;
mod text;

use std::time::Duration;

pub use compare::{Change, Said, compare, compare_text};
pub use csv::{hdr_log, series as csv, siege_log};
pub use drawn::{run_svg, sweep_svg};
pub use page::{run_page, sweep_page};
pub use summary::{About, Report, Siege, Stretch, VERSION};
pub use text::{Words, text};

/// Histograms as text.
pub mod histogram_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Deserializer as Reader, Serializer as Writer, V2DeflateSerializer};
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// As HdrHistogram's tools write it: compressed V2, in base64.
    pub fn text(histogram: &Histogram<u64>) -> Result<String, String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(histogram, &mut bytes).map_err(|error| error.to_string())?;
        Ok(STANDARD.encode(bytes))
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Histogram<u64>, String> {
        let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
        let mut histogram = Reader::new().deserialize(&mut bytes.as_slice()).map_err(|error| format!("{error:?}"))?;
        histogram.auto(true);
        Ok(histogram)
    }

    pub(crate) fn serialize<S: Serializer>(histogram: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
        text(histogram).map_err(S::Error::custom)?.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// The same where there may be none.
    pub(crate) mod optional {
        use super::{Deserialize, Deserializer, Histogram, Serialize, Serializer, parse, text};
        use serde::de::Error as _;
        use serde::ser::Error as _;

        #[expect(clippy::ref_option, reason = "serde's form")]
        pub(crate) fn serialize<S: Serializer>(histogram: &Option<Histogram<u64>>, to: S) -> Result<S::Ok, S::Error> {
            histogram.as_ref().map(text).transpose().map_err(S::Error::custom)?.serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Histogram<u64>>, D::Error> {
            let found = Option::<String>::deserialize(from)?;
            found.as_deref().map(parse).transpose().map_err(D::Error::custom)
        }
    }
}

/// Bytes as text.
pub(crate) mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        STANDARD.encode(bytes).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A time in a unit that leaves three or four digits: `85 µs`, `1.23 ms`, `45.6 s`.
#[must_use]
pub fn time_words(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        value if value < 999.5 => (value, "µs"),
        value if value < 999_500.0 => (value / 1e3, "ms"),
        value => (value / 1e6, "s"),
    };
    let digits = match value {
        _ if unit == "µs" => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}
