//! Runs that are found to be unfit, or that report that they fail: what watches them says so here.

use musher_core::RunId;
use musher_core::lifecycle::Input;

use super::Driver;

/// The longest reason that is kept, in characters.
const LONGEST_REASON: usize = 256;

impl Driver {
    /// This run serves but must be replaced, without a gap. Nothing happens if it does not serve, or if that was said
    /// before: whoever watches it may say so again at each look.
    pub(super) fn unfit(&mut self, run: RunId, reason: &str) {
        let Some(app) = self.find_run(run) else { return };
        let reason = reason.chars().take(LONGEST_REASON).collect();
        self.step(app, Input::Unfit { run, reason });
        self.drop_unused_specs(app);
        self.steer(app);
    }

    /// This run told that an exception was not caught, takes nothing new, and will end. Said again it changes nothing.
    pub(super) fn failing(&mut self, run: RunId) {
        let Some(app) = self.find_run(run) else { return };
        self.step(app, Input::Failing { run });
        self.drop_unused_specs(app);
        self.steer(app);
    }
}
