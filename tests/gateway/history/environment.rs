//! The environment variables that choose a run, and the random generators that follow from its seed.

use std::{any::type_name, str::FromStr};

use fastrand::Rng;

/// Reads a variable, or returns `None` if it is not set.
pub(super) fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let value = text.parse();
    Some(value.unwrap_or_else(|_| panic!("{name} is no {}: {text}", type_name::<T>())))
}

/// The seed of a run: `VEHICLE_GATEWAY_SEED`, or a random one.
pub(super) fn seed() -> u64 {
    variable("VEHICLE_GATEWAY_SEED").unwrap_or_else(|| fastrand::u64(..))
}

/// The length of a run in seconds: `VEHICLE_GATEWAY_CHAOS_SECONDS`, or the default of its test.
pub(super) fn run_seconds(default: u64) -> u64 {
    variable("VEHICLE_GATEWAY_CHAOS_SECONDS").unwrap_or(default)
}

/// Prints a line that the test runner shows if the test fails.
#[expect(clippy::print_stdout, reason = "the test runner captures it")]
pub(super) fn print(line: &str) {
    println!("{line}");
}

/// Returns a random generator for a test, and prints its seed, which `VEHICLE_GATEWAY_SEED` sets.
pub(crate) fn seeded_rng() -> Rng {
    let seed = seed();
    print(&format!("VEHICLE_GATEWAY_SEED={seed}"));
    Rng::with_seed(seed)
}
