//! What a world saw.

/// How often the interesting things happened, to see that the simulation reaches them.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) crashes: u64,
    pub(crate) restarts: u64,
    pub(crate) giveups: u64,
    pub(crate) reloads: u64,
    pub(crate) aborts: u64,
    pub(crate) stops: u64,
    pub(crate) superseded: u64,
    pub(crate) failed_starts: u64,
    pub(crate) scalings: u64,
    pub(crate) unfit: u64,
    pub(crate) relieved: u64,
    pub(crate) kept: u64,
    pub(crate) failing: u64,
    pub(crate) passed: u64,
    pub(crate) returned: u64,
    pub(crate) taken_down: u64,
    pub(crate) due: u64,
    pub(crate) skipped: u64,
    pub(crate) released: u64,
    pub(crate) held_up: u64,
    pub(crate) singles: u64,
    pub(crate) last_ones: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.giveups += other.giveups;
        self.reloads += other.reloads;
        self.aborts += other.aborts;
        self.stops += other.stops;
        self.superseded += other.superseded;
        self.failed_starts += other.failed_starts;
        self.scalings += other.scalings;
        self.unfit += other.unfit;
        self.relieved += other.relieved;
        self.kept += other.kept;
        self.failing += other.failing;
        self.passed += other.passed;
        self.returned += other.returned;
        self.taken_down += other.taken_down;
        self.due += other.due;
        self.skipped += other.skipped;
        self.released += other.released;
        self.held_up += other.held_up;
        self.singles += other.singles;
        self.last_ones += other.last_ones;
    }
}
