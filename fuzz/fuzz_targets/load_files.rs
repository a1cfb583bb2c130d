//! No list of URLs, no .siegerc, no threshold and no rate makes the load tester stumble, and no URL that it takes can carry
//! a line of its own into a request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use musher_load::expect::Expectation;
use musher_load::pace::Rate;
use musher_load::siege::{UrlFile, parse_rc, parse_urls};

fuzz_target!(|text: &str| {
    let environment = |name: &str| (name.len() < 4).then(|| name.repeat(3));
    let read = |_: &str| Ok(vec![0; 10]);
    let file = UrlFile { environment: &environment, read: &read, content_type: None };
    if let Ok(found) = parse_urls(text, &file) {
        for one in found {
            assert!(!one.url.path.contains(['\r', '\n', ' ']));
            assert!(!one.url.authority().contains(['\r', '\n', ' ']));
        }
    }
    let _ = parse_rc(text, &environment);
    let _ = text.parse::<Expectation>();
    if let Ok(rate) = Rate::parse(text) {
        let _ = rate.instant_of(1000.0);
    }
});
