//! The hot paths under a stop-watch: `cargo bench -p streamengine-bench`.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use streamengine_bench::{NAMES, path};

fn hot_paths(criterion: &mut Criterion) {
    for name in NAMES {
        let mut path = path(name).expect("the engine starts").expect("a name of the list");
        criterion.bench_function(name, |bencher| bencher.iter(|| path.step()));
    }
}

criterion_group!(benches, hot_paths);
criterion_main!(benches);
