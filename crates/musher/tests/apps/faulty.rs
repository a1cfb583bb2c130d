//! An executable of musher with a fault, which is its name. Whatever the fault does not concern is left to the real one.

use std::os::unix::process::CommandExt;
use std::process::{Command, exit};

fn main() {
    let own = std::env::current_exe().unwrap();
    let role = std::env::args().nth(1).unwrap_or_default();
    let hang = || -> ! {
        loop {
            std::thread::park();
        }
    };
    match (own.file_name().unwrap().to_str().unwrap(), role.as_str()) {
        ("hangs", _) => hang(),
        ("floods", _) => loop {
            println!("a word without end");
        },
        ("exits", _) => exit(0),
        ("dies-as-supervisor", "supervisor") => exit(1),
        ("hangs-as-supervisor", "supervisor") => hang(),
        _ => {}
    }
    let error = Command::new(env!("MUSHER")).arg0("musher").args(std::env::args().skip(1)).exec();
    panic!("{error}");
}
