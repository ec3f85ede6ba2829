//! The command line.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use vehicle_gateway::{
    app,
    config::{self, Settings, Sources},
    http, store, telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One daemon between connected vehicles and the software that runs a fleet.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// A settings file; later ones override earlier ones
    #[arg(long = "config", value_name = "FILE", global = true)]
    files: Vec<PathBuf>,
    /// One setting, such as http.listen=127.0.0.1:3001; overrides files and environment
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    overrides: Vec<String>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Run the gateway (the default)
    Serve,
    /// Print the effective settings, secrets masked, or everything that is wrong with them
    CheckConfig,
    /// Bring the database's schema up to date and exit
    Migrate,
    /// Print the API's description
    Openapi,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Serve);
    if let Command::Openapi = command {
        return print(&http::openapi());
    }
    let sources = Sources {
        files: arguments.files,
        environment: config::process_environment(),
        overrides: arguments.overrides,
    };
    let settings = match config::load(&sources) {
        Ok(settings) => settings,
        Err(problems) => return fail(&problems),
    };
    if let Command::CheckConfig = command {
        return print(&settings.to_toml_masked());
    }
    if let Err(error) = telemetry::init(&settings.log) {
        return fail(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format_args!("cannot start: {error}")),
    };
    let exit = runtime.block_on(execute(command, settings));
    // What still runs after the grace time is not waited for.
    runtime.shutdown_background();
    exit
}

async fn execute(command: Command, settings: Settings) -> ExitCode {
    let outcome = match command {
        Command::Migrate => store::migrate(settings.database.url.as_str())
            .await
            .map(|()| ExitCode::SUCCESS)
            .map_err(app::StartError::from),
        _ => app::run(settings).await,
    };
    outcome.unwrap_or_else(|error| fail(&error))
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` has.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// One line for a person, whatever the log format is, and a code for scripts.
fn fail(reason: &dyn std::fmt::Display) -> ExitCode {
    // Standard error is the last resort: if it is gone, only the code is left to tell.
    let _unheard = writeln!(std::io::stderr(), "vehicle-gateway: {reason}");
    ExitCode::FAILURE
}
