//! `plan`: what `up` would do.

use crate::{
    cli::Arguments,
    context,
    error::Result,
    event::{Event, Events},
    executor::{Apply, Foresight},
    plan::{self, Action},
    prepare::{self, Purpose},
    ui::Table,
};
use serde_json::json;

/// Shows the plan with what is already done.
///
/// # Errors
/// When lab.yaml breaks a rule or a choice cannot be made.
pub async fn run(arguments: &Arguments) -> Result<u8> {
    let home = context::home(arguments)?;
    let (events, mut receiver) = Events::channel();
    let site = prepare::site(arguments, home, Purpose::Look, events).await?;
    let mut notes = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        if let Event::Note { text } = event {
            notes.push(text);
        }
    }
    // A libvirt that does not answer is what a step is about.
    notes.extend(site.left_guests().await.unwrap_or_default());
    let plan = plan::up(&site.lab, site.engine.as_ref());
    let mut table = Table::new().left("STEP").left("DOES").left("WOULD");
    if site.lab.hosts.is_some() {
        table = table.left("HOST");
    }
    let mut steps = Vec::new();
    let mut changes = 0;
    for chain in &plan.chains {
        let mut broken = false;
        for step in &chain.steps {
            // After a change nothing later in the chain can be foreseen: it runs too.
            let foresight = if broken { Foresight::Changes } else { site.foresee(step).await? };
            let (word, why) = match &foresight {
                Foresight::Changes => ("run", None),
                Foresight::Holds(why) => ("nothing", Some(why.clone())),
            };
            broken |= foresight == Foresight::Changes;
            changes += usize::from(foresight == Foresight::Changes);
            // Only the site knows what the build needs besides the engine's source.
            let title = match (&step.action, &site.kit) {
                (Action::Build, Some(kit)) if kit.tarballs().flex.is_some() => "build flex, then the engine",
                _ => step.title,
            };
            let host = step.node.as_deref().and_then(|name| site.lab.node(name)?.on.as_ref());
            let mut row = vec![
                step.id.clone(),
                title.to_owned(),
                why.as_ref().map_or_else(|| word.to_owned(), |why| format!("nothing: {why}")),
            ];
            if site.lab.hosts.is_some() {
                row.push(host.map(ToString::to_string).unwrap_or_default());
            }
            table.row(row);
            steps.push(json!({ "step": step, "would": word, "why": why, "host": host }));
        }
    }
    if arguments.json {
        return super::print_json(
            &json!({ "lab": site.lab.name, "notes": notes, "changes": changes, "chains": plan.chains, "steps": steps }),
        );
    }
    for note in notes {
        eprintln!("{note}");
    }
    super::print(&table.to_string())?;
    eprintln!("{changes} of {} steps would run", steps.len());
    Ok(0)
}
