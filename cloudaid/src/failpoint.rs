//! Named crash points.
/// Nothing, unless the crash tests are built in.
pub fn hit(_name: &'static str) {}
