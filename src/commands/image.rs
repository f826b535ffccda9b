//! `image`: the cache of images and engine builds.

use crate::{
    cli::{Arguments, ImageVerb},
    config, context, engine,
    error::{Class, Result, ResultExt},
    event::{Event, Events, Outcome},
    image::{self, Image, ImageDefinition, Recipe, Sources, Workshop},
    prepare,
    ui::{self, Table},
};

/// Lists, builds or prunes.
///
/// # Errors
/// When a bake fails or the cache is held.
pub async fn run(arguments: &Arguments, verb: &ImageVerb) -> Result<u8> {
    let home = context::home(arguments)?;
    match verb {
        ImageVerb::List => {
            let entries = image::list(&home);
            if arguments.json {
                let objects: Vec<_> =
                    entries.iter().map(|(kind, name, bytes, labs)| serde_json::json!({ "kind": kind, "name": name, "bytes": bytes, "labs": labs })).collect();
                return super::print_json(&objects);
            }
            let mut table = Table::new().left("KIND").left("NAME").right("SIZE").left("USED BY");
            for (kind, name, bytes, labs) in entries {
                table.row([kind, name, ui::bytes(bytes), labs.join(", ")]);
            }
            super::print(&table.to_string())
        }
        ImageVerb::Build { images } => {
            let lab = config::load(&arguments.file()).map_err(config::Problems::into_error)?.lab;
            let wanted: Vec<String> = if images.is_empty() { lab.images.clone() } else { images.clone() };
            let (events, mut told) = Events::channel();
            tokio::spawn(async move {
                while let Some(event) = told.recv().await {
                    if let Event::Progress { text, .. } = event {
                        eprintln!("{text}");
                    }
                }
            });
            let disks = home.disks();
            let mut built = 0;
            for name in &wanted {
                let definition = match ImageDefinition::find(name) {
                    Ok(definition) => definition,
                    Err(error) if images.is_empty() => {
                        eprintln!("{}", error.message());
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                built += 1;
                for kind in &lab.engines {
                    let packages: Vec<String> = engine::of(*kind)
                        .packages(definition.system)
                        .unwrap_or_default()
                        .iter()
                        .map(|package| (*package).to_owned())
                        .chain(lab.guest.packages.iter().cloned())
                        .collect();
                    let image = Image::new(&home, definition.clone(), &packages, &lab.guest);
                    let time = match definition.recipe {
                        Recipe::Bake => "baking takes about a minute",
                        Recipe::Kickstart { .. } => "installing takes a quarter of an hour with KVM, hours without",
                        Recipe::Cloud { .. } => "its disk is downloaded and booted once, which takes minutes",
                    };
                    eprintln!("image {} for {}: {time}", image.id(), kind.as_str());
                    std::fs::create_dir_all(home.cache()).or_error(Class::Host, || "cannot make the cache".into())?;
                    let workshop = Workshop {
                        log: &home.cache().join(format!("{}.log", image.id())),
                        accelerator: prepare::machine_accelerator(&lab, &home).await?.0,
                        sources: Sources::new(&lab, name, &disks, prepare::is_offline()),
                        events: &events,
                        step: "image",
                    };
                    match image.ensure(&workshop).await? {
                        Outcome::Changed(text) | Outcome::Unchanged(text) => eprintln!("{text}"),
                    }
                }
            }
            if built == 0 {
                return Err(crate::error::Error::new(Class::Image, "this version has none of lab.yaml's images")
                    .hint("add `debian-12` to the list `image`"));
            }
            Ok(0)
        }
        ImageVerb::Prune => {
            let removed = image::prune(&home)?;
            let bytes: u64 = removed.iter().map(|(_, _, bytes)| bytes).sum();
            for (kind, name, bytes) in &removed {
                eprintln!("removed {kind}/{name} ({})", ui::bytes(*bytes));
            }
            eprintln!("{} entries removed, {} freed; what labs use stays", removed.len(), ui::bytes(bytes));
            Ok(0)
        }
    }
}
