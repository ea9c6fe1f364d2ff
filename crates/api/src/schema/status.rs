//! The status of the mesh's kinds (meta.istio.io IstioStatus). It is open: whoever writes status may say more.

use super::{Either, Schema, Type, list, object, text};

/// `status`.
pub(super) fn status() -> Schema {
    let condition = object(
        "",
        [
            ("type", text("What the condition is about.")),
            ("status", text("`True`, `False` or `Unknown`.")),
            ("reason", text("Why, in one word.")),
            ("message", text("Why, for people.")),
            ("lastProbeTime", time("When it was looked at last.")),
            ("lastTransitionTime", time("When it changed last.")),
            ("observedGeneration", generation("The generation of the object that the condition is about.")),
        ],
    );
    let message = object(
        "",
        [
            (
                "type",
                object(
                    "Which message it is.",
                    [("name", text("Its name.")), ("code", text("Its code, such as `IST0101`."))],
                ),
            ),
            ("level", text("How bad it is.").of(&["UNKNOWN", "ERROR", "WARNING", "INFO"])),
            ("documentationUrl", text("Where more is said.")),
        ],
    );
    object(
        "What is known of the object. Written by the control plane.",
        [
            ("conditions", list("What holds for the object.", condition)),
            ("validationMessages", list("What was found in it.", message)),
            ("observedGeneration", generation("The generation of the object that the status is about.")),
        ],
    )
    .open()
}

fn time(description: &'static str) -> Schema {
    Schema { format: Some("date-time"), ..text(description) }
}

/// A 64-bit number, which JSON made of protocol buffers writes as text.
fn generation(description: &'static str) -> Schema {
    let any_of = vec![Either { kind: Type::Integer }, Either { kind: Type::String }];
    Schema { description, any_of, int_or_string: true, ..Schema::default() }
}
