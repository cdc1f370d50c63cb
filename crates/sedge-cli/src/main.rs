//! The command `sedge`: serves Socket.IO with a chat demo, health and metrics.
//!
//! It only puts things together: what it serves is the library's, what it is told is in
//! [`config`], and [`serve`] is its life from start to end. [`demo`] is an application of the library
//! that is worth reading as an example.

mod args;
mod client_files;
mod cluster;
mod config;
mod demo;
mod failure;
mod hash_bench;
mod http;
mod limits;
mod logging;
mod nofile;
mod serve;
mod status;
mod tasks;
mod tls;

use std::io::Write as _;
use std::process::ExitCode;

use args::Task;
use config::Typed;
use config::settings::{Operation, Settings};
use failure::Failure;

fn main() -> ExitCode {
    // It ends the process itself for --help, --version and wrong usage, the latter with 2.
    let matches = args::command().get_matches();
    let code = run(args::read(&matches)).unwrap_or_else(|failure| {
        logging::say(&format!("sedge: {failure}"));
        failure.exit_code()
    });
    logging::flush();
    code
}

fn run((task, flags): (Task, config::Layer)) -> Result<ExitCode, Failure> {
    let settings = || Ok::<_, Failure>(Settings::read(Typed::gather(flags, std::env::vars_os())?)?);
    match task {
        Task::Cluster => cluster::run(&settings()?),
        Task::Serve => serve::run(&settings()?),
        Task::Ask(question) => status::ask(question, &settings()?.run_dir_of_running()),
        Task::CheckConfig => {
            let settings = settings()?;
            check(&settings)?;
            for remark in settings.remarks(Operation::Cluster) {
                logging::say(&format!("sedge: {remark}"));
            }
            // Nobody may be reading, which is no fault.
            let _ = std::io::stdout().write_all(settings.show().as_bytes());
            Ok(ExitCode::SUCCESS)
        }
        Task::HashBench(bench) => Ok(hash_bench::run(bench)),
    }
}

/// Everything that can be wrong and is known without starting.
fn check(settings: &Settings) -> Result<(), Failure> {
    settings.check()?;
    if let Some(files) = &settings.tls {
        tls::Certificate::load(files).map_err(Failure::Tls)?;
    }
    Ok(())
}
