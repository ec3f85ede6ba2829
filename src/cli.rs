//! The command line: its arguments, and what each subcommand does.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;
use strum::VariantNames;
use tokio::runtime::Runtime;
use vehicle_gateway::{
    access::{KeyHash, NewKey, Scope, Scopes},
    app,
    config::{self, Settings, Sources},
    explain, health, http,
    simulate::{self, DeviceId, Dialect},
    supervision::essential,
    telemetry,
};

/// Gateway between connected vehicles and fleet software
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// The settings of a gateway. They may stand before and behind the subcommand; those behind override the others.
#[derive(Debug, Default, Args)]
struct SettingsArguments {
    /// Read settings from a TOML file; later files override earlier ones
    #[arg(
        long = "config",
        value_name = "FILE",
        help_heading = "Gateway settings"
    )]
    files: Vec<PathBuf>,
    /// Set one setting, such as http.listen=127.0.0.1:3001; overrides files and environment
    #[arg(
        long = "set",
        value_name = "KEY=VALUE",
        help_heading = "Gateway settings"
    )]
    overrides: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the gateway (the default)
    Serve(SettingsArguments),
    /// Print the effective settings with secrets masked, or all problems of the settings
    CheckConfig(SettingsArguments),
    /// Check that the gateway with these settings answers; exit code 0 if it does
    Health(SettingsArguments),
    /// Migrate the database schema and exit
    Migrate(SettingsArguments),
    /// Print the description of the REST API
    Openapi,
    /// Make keys of the API
    #[command(subcommand)]
    Keys(KeysCommands),
    /// Tell what a device's sentences are taken for, or what is wrong with them; exit code 0 if all are good
    Explain {
        /// What the device sends [default: standard input]
        #[arg(allow_hyphen_values = true)]
        sentences: Option<String>,
    },
    /// Simulate a vehicle, or a fleet, that connects to a running gateway
    Simulate(SimulateArguments),
}

#[derive(Debug, Subcommand)]
enum KeysCommands {
    /// Print a new key, once, and the lines of the settings that make it known; changes nothing by itself
    New {
        /// Its name, for people
        #[arg(long, value_parser = parse_key_name)]
        name: String,
        /// What it allows, of read, metrics, ingest, command, manage and keys, joined by commas
        #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPES", value_parser = parse_scope)]
        scopes: Vec<Scope>,
        /// After which time it is refused, such as 365d [default: never]
        #[arg(long, value_name = "DURATION", value_parser = parse_expiry)]
        expires: Option<jiff::Timestamp>,
    },
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    text.parse()
        .map_err(|_| format!("is none of {}", Scope::VARIANTS.join(", ")))
}

/// The time after a duration from now, in whole seconds.
fn parse_expiry(text: &str) -> Result<jiff::Timestamp, String> {
    let after = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let now = jiff::Timestamp::now().as_second();
    let at = i64::try_from(after.as_secs())
        .ok()
        .and_then(|after| now.checked_add(after));
    at.and_then(|at| jiff::Timestamp::from_second(at).ok())
        .ok_or_else(|| "ends after the year 9999".to_owned())
}

/// A name that the settings accept.
fn parse_key_name(text: &str) -> Result<String, &'static str> {
    config::printable_name(text).ok_or("must have 1 to 64 printable characters")
}

#[derive(Debug, Args)]
struct SimulateArguments {
    /// Address of the gateway's device port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4000")]
    connect: String,
    /// Id of the vehicle, if there is only one [default: a UUID]
    #[arg(long, value_parser = DeviceId::parse)]
    id: Option<DeviceId>,
    /// Number of vehicles; a single one shows its sentences and sends typed lines
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// Dialect: plain sentences, or one JSON object for each
    #[arg(long, value_enum, default_value_t = DialectArgument::Text)]
    dialect: DialectArgument,
    /// Time between two PINGs of a vehicle; 0 for none
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = simulate::parse_duration)]
    heartbeat: Duration,
    /// Time between two reports of a vehicle; 0 for none [default: none for one, 60s for more]
    #[arg(long, value_name = "DURATION", value_parser = simulate::parse_duration)]
    report_every: Option<Duration>,
    /// Vehicles that connect in each second
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    ramp: u32,
    /// Say goodbye and exit after this time [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = simulate::parse_duration)]
    length: Option<Duration>,
    /// Seed of the fleet: the same number gives the same fleet [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DialectArgument {
    Text,
    Json,
}

impl Cli {
    /// Runs the subcommand. Returns the exit code of the process.
    pub(crate) fn run(self) -> ExitCode {
        let command = self
            .command
            .unwrap_or_else(|| Subcommands::Serve(SettingsArguments::default()));
        let behind = match &command {
            Subcommands::Serve(settings)
            | Subcommands::CheckConfig(settings)
            | Subcommands::Health(settings)
            | Subcommands::Migrate(settings) => settings,
            _ if !self.settings.is_empty() => {
                return fail(
                    &"this subcommand takes no settings of a gateway: leave out --config and --set",
                );
            }
            Subcommands::Openapi => return print(&http::openapi()),
            Subcommands::Keys(KeysCommands::New {
                name,
                scopes,
                expires,
            }) => return new_key(name, scopes, *expires),
            Subcommands::Explain { sentences } => return explain_input(sentences.clone()),
            Subcommands::Simulate(arguments) => return simulate(arguments),
        };
        let sources = self.settings.sources(behind);
        let settings = match config::load(&sources) {
            Ok(settings) => settings,
            Err(problems) => return fail(&problems),
        };
        if let Subcommands::CheckConfig(_) = command {
            if let Err(error) = app::check_files(&settings) {
                return fail(&error);
            }
            return print(&settings.to_toml_masked());
        }
        if let Subcommands::Health(_) = command {
            return block_on(check_health(settings));
        }
        if let Err(error) = telemetry::init(&settings.log) {
            return fail(&error);
        }
        let exit = match command {
            Subcommands::Migrate(_) => block_on(migrate(settings)),
            _ => block_on(serve(settings)),
        };
        telemetry::flush();
        exit
    }
}

/// Shows why the arguments are refused, or the help that they ask for. What it repeats of them is masked: a setting in
/// the wrong place may be a secret.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    /// What clap exits with.
    const USAGE: u8 = 2;
    let text = error.to_string();
    let masked = mask_arguments(&text, std::env::args().skip(1));
    if masked == text {
        error.exit();
    }
    // If standard error is gone, only the exit code is left.
    let _ignored = std::io::stderr().write_all(masked.as_bytes());
    ExitCode::from(USAGE)
}

/// Masks in `text` the values of arguments that look like settings, and passwords of URLs in all others.
fn mask_arguments(text: &str, arguments: impl Iterator<Item = String>) -> String {
    let mut masked = text.to_owned();
    for argument in arguments {
        let (key, value) = argument.split_once('=').unwrap_or(("", &argument));
        let is_setting = key == "--set" || !(key.is_empty() || key.starts_with('-'));
        let shown = if is_setting {
            Cow::Borrowed("***")
        } else {
            config::mask(value)
        };
        if !value.is_empty() && shown != value {
            // As clap repeats it: all of the argument, or its value in quotes.
            let prefix = argument.strip_suffix(value).unwrap_or_default();
            masked = masked
                .replace(&argument, &format!("{prefix}{shown}"))
                .replace(&format!("'{value}'"), &format!("'{shown}'"));
        }
    }
    masked
}

/// The most bytes of standard input that are explained.
const MAX_EXPLAINED: u64 = 64 << 20;

/// Prints a new key and the lines of the settings with its hash.
fn new_key(name: &str, scopes: &[Scope], expires: Option<jiff::Timestamp>) -> ExitCode {
    let key = match NewKey::generate() {
        Ok(key) => key,
        Err(error) => return fail(&format_args!("the system has no random numbers: {error}")),
    };
    let scopes: Scopes = scopes.iter().copied().collect();
    let scopes: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    let sha256 = KeyHash::of(key.as_str());
    let expires = expires.map_or_else(String::new, |at| format!("expires = \"{at}\"\n"));
    print(&format!(
        "{key}\n\n\
         # This is the key. It is shown only once. Clients send it in a header:\n\
         #     Authorization: Bearer {key}\n\
         # Add these lines to the settings of each gateway, and set http.auth to \"required\":\n\n\
         [[http.keys]]\nname = {name}\nscopes = {scopes}\nsha256 = \"{sha256}\"\n{expires}",
        key = key.as_str(),
        // JSON writes text and lists of text as TOML does.
        name = json!(name),
        scopes = json!(scopes),
    ))
}

fn explain_input(sentences: Option<String>) -> ExitCode {
    let input = sentences.map_or_else(
        || {
            let mut input = Vec::new();
            let mut reader = std::io::stdin().lock().take(MAX_EXPLAINED);
            reader.read_to_end(&mut input).map(|_length| input)
        },
        |text| Ok(text.into_bytes()),
    );
    let explanation = match input {
        Ok(input) => explain::explain(&input),
        Err(error) => return fail(&format_args!("cannot read standard input: {error}")),
    };
    let printed = print(&explanation.text);
    if explanation.is_good {
        printed
    } else {
        ExitCode::FAILURE
    }
}

impl SettingsArguments {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.overrides.is_empty()
    }

    /// The sources of the settings, with those `behind` the subcommand last.
    fn sources(&self, behind: &Self) -> Sources {
        Sources {
            files: [&*self.files, &behind.files].concat(),
            environment: config::process_environment(),
            overrides: [&*self.overrides, &behind.overrides].concat(),
        }
    }
}

fn simulate(arguments: &SimulateArguments) -> ExitCode {
    let options = simulate::Options {
        connect: arguments.connect.clone(),
        id: arguments.id.clone(),
        devices: arguments.devices,
        dialect: match arguments.dialect {
            DialectArgument::Text => Dialect::Text,
            DialectArgument::Json => Dialect::Json,
        },
        heartbeat: arguments.heartbeat,
        report_every: arguments.report_every,
        ramp: arguments.ramp,
        length: arguments.length,
        seed: arguments.seed,
    };
    block_on(async {
        simulate::run(options)
            .await
            .unwrap_or_else(|error| fail(&error))
    })
}

async fn serve(settings: Settings) -> ExitCode {
    essential("main", Box::pin(app::run(settings)))
        .await
        .unwrap_or_else(|error| fail(&error))
}

async fn migrate(settings: Settings) -> ExitCode {
    match app::migrate(&settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn check_health(settings: Settings) -> ExitCode {
    match health::check(settings.http.listen, settings.http.tls.is_on()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format_args!("cannot start: {error}")),
    };
    let exit = runtime.block_on(work);
    // Blocking tasks that outlast the grace time are not waited for.
    runtime.shutdown_background();
    exit
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Writes the reason to standard error for a person, whatever the log format is, and returns the exit code of a
/// failure.
fn fail(reason: &dyn Display) -> ExitCode {
    // The reason stands behind the log.
    telemetry::flush();
    // If standard error is gone, too, only the exit code is left.
    let _ignored = writeln!(std::io::stderr(), "vehicle-gateway: {reason}");
    ExitCode::FAILURE
}
