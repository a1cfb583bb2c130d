//! `musher monit`: apps, their workers, logs and events on a terminal, and what can be done to them.
//!
//! [`model`], [`logs`], [`dialog`] and [`keys`] decide what is shown and are pure; [`draw`] draws it; [`feed`] asks the daemon;
//! [`screen`] has the terminal. The loop here only carries between them.

mod dialog;
mod draw;
mod feed;
mod keys;
mod logs;
mod model;
mod screen;
#[cfg(test)]
mod tests;

use std::time::Duration;

use musher_api::client::Client;
use ratatui::crossterm::event::Event;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use self::draw::Theme;
use self::feed::{Feed, Focus};
use self::keys::{Areas, Wish};
use self::model::{Model, Pane, Side};
use self::screen::Screen;
use crate::failure::Failure;
use crate::output::Terminal;

/// How long news waits to be drawn together. Keys are answered at once.
const FRAME: Duration = Duration::from_millis(100);

/// Shows it until somebody leaves.
pub(crate) async fn run(client: Client) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::environment(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut view = View::begin()?;
    let mut inputs = screen::inputs();
    let (mut feed, mut news) = Feed::begin(client);
    let mut due = Some(Instant::now());
    loop {
        if due.is_some_and(|due| due <= Instant::now()) {
            view.draw()?;
            due = None;
        }
        let soon = Instant::now() + FRAME;
        tokio::select! {
            input = inputs.recv() => {
                let Some(input) = input else { return Ok(()) };
                match view.input(&input) {
                    Some(Wish::Quit) => return Ok(()),
                    Some(Wish::Order(order)) => feed.order(order),
                    Some(Wish::Redraw) => view.clear()?,
                    None => {}
                }
                due = Some(Instant::now());
            }
            Some(heard) = news.recv() => {
                view.model.hear(heard);
                due.get_or_insert(soon);
            }
            () = until(due) => {}
            Some(()) = terminate.recv() => return Ok(()),
            Some(()) = hang_up.recv() => return Ok(()),
            Some(()) = interrupt.recv() => return Ok(()),
            Some(ended) = feed.tasks.join_next() => ended.map_err(|error| {
                Failure::new(crate::exit_codes::FAILED, format!("a part of monit has failed: {error}"))
            })?,
        }
        if std::mem::take(&mut view.model.is_stale) {
            feed.stale();
        }
        feed.look_at(view.focus());
    }
}

/// What is seen, and the terminal that it is seen on.
struct View {
    screen: Screen,
    model: Model,
    areas: Areas,
    theme: Theme,
}

impl View {
    fn begin() -> Result<View, Failure> {
        let theme = Theme { has_colours: Terminal::stdout().has_colours() };
        Ok(View { screen: Screen::take()?, model: Model::new(), areas: Areas::default(), theme })
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let View { screen, model, areas, theme } = self;
        screen.terminal.draw(|frame| *areas = draw::draw(frame, model, *theme))?;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        Ok(self.screen.terminal.clear()?)
    }

    fn input(&mut self, input: &Event) -> Option<Wish> {
        match input {
            Event::Key(key) => keys::key(&mut self.model, *key),
            Event::Mouse(mouse) => {
                keys::mouse(&mut self.model, *mouse, &self.areas);
                None
            }
            Event::Paste(text) => {
                keys::paste(&mut self.model, text);
                None
            }
            Event::Resize(_, _) | Event::FocusGained | Event::FocusLost => None,
        }
    }

    /// What of the daemon is looked at.
    fn focus(&self) -> Focus {
        let (shown, all) = self.model.in_view();
        let alone = self.model.is_zoomed && self.model.pane != Pane::Side;
        Focus {
            shown,
            all,
            app: self.model.chosen_app().map(|app| app.name.clone()),
            details: self.model.side == Side::Details && !alone,
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
