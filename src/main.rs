//! The command line.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::runtime::Runtime;
use vehicle_gateway::{
    app,
    config::{self, Settings, Sources},
    health, http,
    simulate::{self, DeviceId, Dialect},
    store, telemetry,
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
    #[arg(
        long = "config",
        value_name = "FILE",
        global = true,
        help_heading = "Settings of the gateway"
    )]
    files: Vec<PathBuf>,
    /// One setting, such as http.listen=127.0.0.1:3001; overrides files and environment
    #[arg(
        long = "set",
        value_name = "KEY=VALUE",
        global = true,
        help_heading = "Settings of the gateway"
    )]
    overrides: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default)
    Serve,
    /// Print the effective settings, secrets masked, or everything that is wrong with them
    CheckConfig,
    /// Ask the gateway that runs with these settings whether it answers; exit code 0 if it does
    Health,
    /// Bring the database's schema up to date and exit
    Migrate,
    /// Print the API's description
    Openapi,
    /// Be a vehicle, or a fleet of them, that talks to a running gateway
    Simulate(Simulation),
}

#[derive(Debug, Args)]
struct Simulation {
    /// Where the gateway listens for devices
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4000")]
    connect: String,
    /// The vehicle's id, if it is one vehicle [default: a UUID]
    #[arg(long, value_parser = DeviceId::parse)]
    id: Option<DeviceId>,
    /// How many vehicles; one shows its talk and says what you type
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// How they speak: sentences as they are, or each in a JSON object
    #[arg(long, value_enum, default_value_t = Speech::Text)]
    dialect: Speech,
    /// Time between two PINGs of a vehicle; 0 for none
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = simulate::parse_duration)]
    heartbeat: Duration,
    /// Time between two reports of a vehicle; 0 for none [default: none for one, 60s for more]
    #[arg(long, value_name = "DURATION", value_parser = simulate::parse_duration)]
    report_every: Option<Duration>,
    /// Vehicles that connect in a second
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    ramp: u32,
    /// Say goodbye and end after this time [default: when told to]
    #[arg(long = "for", value_name = "DURATION", value_parser = simulate::parse_duration)]
    length: Option<Duration>,
    /// The same number is the same fleet again [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Speech {
    Text,
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = match arguments.command.unwrap_or(Command::Serve) {
        Command::Openapi => return print(&http::openapi()),
        Command::Simulate(simulation) => return simulate(simulation),
        command => command,
    };
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
    if let Command::Health = command {
        return block_on(check_health(settings));
    }
    if let Err(error) = telemetry::init(&settings.log) {
        return fail(&error);
    }
    block_on(execute(command, settings))
}

fn simulate(simulation: Simulation) -> ExitCode {
    let options = simulate::Options {
        connect: simulation.connect,
        id: simulation.id,
        devices: simulation.devices,
        dialect: match simulation.dialect {
            Speech::Text => Dialect::Text,
            Speech::Json => Dialect::Json,
        },
        heartbeat: simulation.heartbeat,
        report_every: simulation.report_every,
        ramp: simulation.ramp,
        length: simulation.length,
        seed: simulation.seed,
    };
    block_on(async {
        simulate::run(options)
            .await
            .unwrap_or_else(|error| fail(&error))
    })
}

fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format_args!("cannot start: {error}")),
    };
    let exit = runtime.block_on(work);
    // What still runs after the grace time is not waited for.
    runtime.shutdown_background();
    exit
}

async fn execute(command: Command, settings: Settings) -> ExitCode {
    let outcome = match command {
        Command::Migrate => store::migrate(&app::database_address(&settings))
            .await
            .map(|()| ExitCode::SUCCESS)
            .map_err(app::StartError::from),
        _ => app::run(settings).await,
    };
    outcome.unwrap_or_else(|error| fail(&error))
}

async fn check_health(settings: Settings) -> ExitCode {
    match health::check(settings.http.listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
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
