//! The faults of a run: a plan that follows from the seed alone, and the thread that carries it out.

use std::{
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::record::{Fault, FaultWindow, RunClock};
use crate::support::{Cluster, LEASE};

/// A fault of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedFault {
    /// How long after the start of the run it begins.
    at: Duration,
    fault: Fault,
    length: Duration,
}

/// Plans faults for a run of this length. Faults of Redis may overlap with any other. Of the others, at most two
/// instances fail at the same time, and only where a third is left.
pub(super) fn plan(rng: &mut Rng, length: Duration, instances: usize) -> Vec<PlannedFault> {
    let mut plan = Vec::new();
    let millis = |rng: &mut Rng, from: u64, to: u64| Duration::from_millis(rng.u64(from..to));
    let lease = u64::try_from(LEASE.as_millis()).unwrap();
    let mut at = millis(rng, 1_000, 3_000);
    while at < length {
        let index = rng.usize(..instances);
        let (fault, lasts) = match rng.u32(..100) {
            0..25 => (Fault::Kill(index), millis(rng, 300, 4 * lease)),
            25..55 => (Fault::Pause(index), millis(rng, lease / 5, 2 * lease)),
            55..72 => (Fault::Restart(index), Duration::ZERO),
            72..86 => (Fault::DatabaseDown, millis(rng, 0, 3_000)),
            _ => (Fault::DatabasePause, millis(rng, 500, 3 * lease)),
        };
        plan.push(PlannedFault {
            at,
            fault,
            length: lasts,
        });
        let is_instance = matches!(fault, Fault::Kill(_) | Fault::Pause(_));
        if is_instance && instances > 2 && rng.f32() < 0.3 {
            let second = (index + rng.usize(1..instances)) % instances;
            plan.push(PlannedFault {
                at: at + millis(rng, 0, 1_000),
                fault: Fault::Kill(second),
                length: millis(rng, 300, 3_000),
            });
        }
        if fault == Fault::Restart(index) && rng.f32() < 0.5 {
            // A rolling restart: every other instance after this one.
            for next in 1..instances {
                plan.push(PlannedFault {
                    at,
                    fault: Fault::Restart((index + next) % instances),
                    length: Duration::ZERO,
                });
            }
        }
        at += lasts + millis(rng, 1_000, 6_000);
    }
    let mut at = millis(rng, 2_000, 8_000);
    while at < length {
        let fault = if rng.bool() {
            Fault::RedisDown
        } else {
            Fault::RedisPause
        };
        let lasts = millis(rng, 200, 6_000);
        plan.push(PlannedFault {
            at,
            fault,
            length: lasts,
        });
        at += lasts + millis(rng, 5_000, 15_000);
    }
    plan.sort_by_key(|planned| planned.at);
    plan
}

/// Carries the plan out and returns when every fault is over, with the times at which they really lasted.
pub(super) fn inject(
    cluster: &mut Cluster,
    plan: &[PlannedFault],
    clock: RunClock,
) -> Vec<FaultWindow> {
    let start = Instant::now();
    let mut lasting: Vec<(Duration, FaultWindow)> = Vec::new();
    let mut over = Vec::new();
    let mut plan = plan.iter().peekable();
    loop {
        let next_end = lasting.iter().map(|(until, _)| *until).min();
        let next_begin = plan.peek().map(|planned| planned.at);
        let Some(next) = next_end.into_iter().chain(next_begin).min() else {
            return over;
        };
        thread::sleep(next.saturating_sub(start.elapsed()));
        if next_end == Some(next) {
            let index = lasting.iter().position(|(until, _)| *until == next);
            let (_, mut window) = lasting.swap_remove(index.unwrap());
            end(cluster, window.fault);
            window.until = clock.now();
            over.push(window);
        } else if let Some(planned) = plan.next() {
            let conflicts = lasting
                .iter()
                .any(|(_, window)| conflict(window.fault, planned.fault));
            if conflicts {
                continue;
            }
            let from = clock.now();
            begin(cluster, planned.fault);
            let window = FaultWindow {
                from,
                until: clock.now(),
                fault: planned.fault,
            };
            if matches!(planned.fault, Fault::Restart(_)) {
                over.push(window);
            } else {
                lasting.push((start.elapsed() + planned.length, window));
            }
        }
    }
}

/// Whether a fault cannot begin while another lasts. Faults may begin later than planned, because restarts take time.
fn conflict(lasting: Fault, new: Fault) -> bool {
    let is_redis = |fault| matches!(fault, Fault::RedisDown | Fault::RedisPause);
    let instance = |fault| match fault {
        Fault::Kill(index) | Fault::Pause(index) | Fault::Restart(index) => Some(index),
        _ => None,
    };
    match (instance(lasting), instance(new)) {
        (Some(one), Some(other)) => one == other,
        _ => is_redis(lasting) == is_redis(new),
    }
}

fn begin(cluster: &mut Cluster, fault: Fault) {
    match fault {
        Fault::Kill(index) => cluster.kill(index),
        Fault::Pause(index) => cluster.pause(index),
        Fault::Restart(index) => {
            // An instance that cannot store what it holds exits with a failure. The checker judges what that did.
            let _status = cluster.stop(index);
            cluster.start_instance(index);
        }
        Fault::RedisDown => cluster.redis().kill(),
        Fault::RedisPause => cluster.redis().pause(),
        Fault::DatabaseDown => cluster.database().server().kill(),
        Fault::DatabasePause => cluster.database().server().stall(),
    }
}

fn end(cluster: &mut Cluster, fault: Fault) {
    match fault {
        Fault::Kill(index) => cluster.start_instance(index),
        Fault::Pause(index) => cluster.resume(index),
        Fault::Restart(_) => {}
        Fault::RedisDown => cluster.redis().restart(),
        Fault::RedisPause => cluster.redis().resume(),
        Fault::DatabaseDown => cluster.database().server().restart(),
        Fault::DatabasePause => cluster.database().server().resume(),
    }
}

mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed() {
        let plan = |seed| plan(&mut Rng::with_seed(seed), Duration::from_mins(5), 3);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        for fault in [Fault::DatabaseDown, Fault::DatabasePause, Fault::RedisDown] {
            assert!(plan(7).iter().any(|planned| planned.fault == fault));
        }
    }
}
