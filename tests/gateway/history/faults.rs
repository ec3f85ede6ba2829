//! What is done to the servers during a run: made from the seed alone, and done one after the other.

use std::{
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::history::record::{Clock, Fault, Trouble};
use crate::support::{Cluster, LEASE};

/// A fault that begins this long after the run, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    at: Duration,
    fault: Fault,
    length: Duration,
}

/// Faults for a run of this length. What happens to Redis may coincide with anything; of the rest, only two
/// instances fail at the same time, and only where a third is left.
pub(crate) fn plan(rng: &mut Rng, length: Duration, instances: usize) -> Vec<Planned> {
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
        plan.push(Planned {
            at,
            fault,
            length: lasts,
        });
        let is_instance = matches!(fault, Fault::Kill(_) | Fault::Pause(_));
        if is_instance && instances > 2 && rng.f32() < 0.3 {
            let second = (index + rng.usize(1..instances)) % instances;
            plan.push(Planned {
                at: at + millis(rng, 0, 1_000),
                fault: Fault::Kill(second),
                length: millis(rng, 300, 3_000),
            });
        }
        if fault == Fault::Restart(index) && rng.f32() < 0.5 {
            // All of them, one after the other.
            for next in 1..instances {
                plan.push(Planned {
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
        plan.push(Planned {
            at,
            fault,
            length: lasts,
        });
        at += lasts + millis(rng, 5_000, 15_000);
    }
    plan.sort_by_key(|planned| planned.at);
    plan
}

/// Does it. All is as before when this returns.
pub(crate) fn cause(cluster: &mut Cluster, plan: &[Planned], clock: Clock) -> Vec<Trouble> {
    let start = Instant::now();
    let mut under_way: Vec<(Duration, Trouble)> = Vec::new();
    let mut over = Vec::new();
    let mut plan = plan.iter().peekable();
    loop {
        // What ends first, or begins first.
        let end = under_way.iter().map(|(until, _)| *until).min();
        let begin = plan.peek().map(|planned| planned.at);
        let Some(next) = end.into_iter().chain(begin).min() else {
            return over;
        };
        thread::sleep(next.saturating_sub(start.elapsed()));
        if end == Some(next) {
            let index = under_way.iter().position(|(until, _)| *until == next);
            let (_, mut trouble) = under_way.swap_remove(index.unwrap());
            undo(cluster, trouble.what);
            trouble.until = clock.now();
            over.push(trouble);
        } else if let Some(planned) = plan.next() {
            let busy = under_way
                .iter()
                .any(|(_, trouble)| clash(trouble.what, planned.fault));
            if busy {
                continue;
            }
            let from = clock.now();
            inflict(cluster, planned.fault);
            let trouble = Trouble {
                from,
                until: clock.now(),
                what: planned.fault,
            };
            if matches!(planned.fault, Fault::Restart(_)) {
                over.push(trouble);
            } else {
                under_way.push((start.elapsed() + planned.length, trouble));
            }
        }
    }
}

/// Whether a fault cannot begin while another lasts: what was planned may come later than planned.
fn clash(lasting: Fault, new: Fault) -> bool {
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

fn inflict(cluster: &mut Cluster, fault: Fault) {
    match fault {
        Fault::Kill(index) => cluster.kill(index),
        Fault::Pause(index) => cluster.pause(index),
        Fault::Restart(index) => {
            // One that cannot store what it has ends with a failure: what then holds is checked by the history.
            let _status = cluster.stop(index);
            cluster.start_instance(index);
        }
        Fault::RedisDown => cluster.redis().kill(),
        Fault::RedisPause => cluster.redis().pause(),
        Fault::DatabaseDown => cluster.database().server().kill(),
        Fault::DatabasePause => cluster.database().server().stall(),
    }
}

fn undo(cluster: &mut Cluster, fault: Fault) {
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
    fn a_seed_makes_one_plan_and_another_seed_another() {
        let plan = |seed| plan(&mut Rng::with_seed(seed), Duration::from_mins(5), 3);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        for fault in [Fault::DatabaseDown, Fault::DatabasePause, Fault::RedisDown] {
            assert!(plan(7).iter().any(|planned| planned.fault == fault));
        }
    }
}
