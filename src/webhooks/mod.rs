//! Webhooks: what messages say, how they are signed, where they may go, and how they are sent.

mod body;

pub use body::render;
