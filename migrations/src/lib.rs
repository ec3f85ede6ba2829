//! The schema of vehicle-gateway: one file a migration, applied in order and never edited after a release.
