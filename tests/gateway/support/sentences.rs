//! Sentences of the protocol that many tests use.

pub(crate) const GREETING: &str = "HI, NICE TO MEET YOU!";
pub(crate) const THANKS: &str = "OK, THANKS!";
pub(crate) const RUN: &str = "HEY YOU, RUN!";
pub(crate) const REST: &str = "HEY YOU, REST!";
pub(crate) const ASK: &str = "HOW'S IT GOING?";
pub(crate) const FINE: &str = "FINE. I'M HERE 43.5 11.25, RUNNING AND CHARGED AT 47%.";
pub(crate) const REPORT: &str = "REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.";

/// The login sentence of a text device.
pub(crate) fn hello(device_id: &str) -> String {
    format!("HELLO, I'M {device_id}!")
}

/// A report of this battery level, always from the same position.
pub(crate) fn report(battery: usize) -> String {
    format!("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT {battery}%.\n")
}
