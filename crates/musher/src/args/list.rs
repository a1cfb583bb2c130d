//! What `musher list`, `describe` and `pid` take.

use clap::Args;

/// `musher list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only these: names or ids of apps, namespaces, /expressions/ for names.
    #[arg(value_name = "APP")]
    pub(crate) targets: Vec<String>,
    /// One array with an object for each slot.
    #[arg(long)]
    pub(crate) json: bool,
    /// By one of: id, name, namespace, pid, cpu, memory, uptime, restarts, status; `cpu:desc` begins with the most.
    #[arg(long, value_name = "FIELD[:desc]", value_parser = sorting)]
    pub(crate) sort: Option<Sorting>,
    /// A line for each value, without a table.
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) mini: bool,
    /// Again each second, until ^C.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// An order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sorting {
    /// By what.
    pub(crate) field: Field,
    /// The most first.
    pub(crate) descends: bool,
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Id,
    Name,
    Namespace,
    Pid,
    Cpu,
    Memory,
    Uptime,
    Restarts,
    Status,
}

fn sorting(text: &str) -> Result<Sorting, String> {
    let (field, order) = text.split_once(':').unwrap_or((text, "asc"));
    let field = match field {
        "id" => Field::Id,
        "name" => Field::Name,
        "namespace" => Field::Namespace,
        "pid" => Field::Pid,
        "cpu" => Field::Cpu,
        "memory" | "mem" => Field::Memory,
        "uptime" => Field::Uptime,
        "restarts" => Field::Restarts,
        "status" => Field::Status,
        _ => return Err("id, name, namespace, pid, cpu, memory, uptime, restarts or status".into()),
    };
    match order {
        "asc" => Ok(Sorting { field, descends: false }),
        "desc" => Ok(Sorting { field, descends: true }),
        _ => Err("asc or desc comes behind the colon".into()),
    }
}

/// `musher describe`
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Names or ids of apps, namespaces, /expressions/ for names.
    #[arg(required = true, value_name = "APP")]
    pub(crate) targets: Vec<String>,
    /// Show the values of environment variables.
    #[arg(long)]
    pub(crate) env: bool,
    /// As the control API gives it.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `musher pid`
#[derive(Debug, Args)]
pub(crate) struct PidArgs {
    /// Names or ids of apps, namespaces, /expressions/ for names [default: all].
    #[arg(value_name = "APP")]
    pub(crate) targets: Vec<String>,
}
