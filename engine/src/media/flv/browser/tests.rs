//! Tests of payloads for players in browsers.
