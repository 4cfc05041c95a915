"use strict";

const part = (id) => document.getElementById(id);
let entry = "";
let waiting = Promise.resolve();

// One press after the other, in the order of the fingers.
function send(content) {
  const body = JSON.stringify({ entry, ...content });
  waiting = waiting
    .then(() => fetch("press", { method: "POST", headers: { "Content-Type": "application/json" }, body }))
    .catch(() => offline(true));
}

function key(label, className, content) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.className = className;
  button.addEventListener("click", () => send(content));
  return button;
}

// Positions 0 to 8 row by row, 9 at the bottom; what stands on each is the trusted side's choice for this entry.
function drawPad(state) {
  const keys = [...state.layout].map((digit, position) => key(digit, "digit", { position }));
  const erase = key("Delete", "word", { key: "delete" });
  const cancel = key("Cancel", "word cancel", { key: "cancel" });
  const ok = key("OK", "ok", { key: "ok" });
  ok.id = "ok";
  part("keys").replaceChildren(...keys.slice(0, 9), cancel, keys[9], erase, ok);
}

function drawBullets(state) {
  const shown = Math.max(state.bullets, Math.min(6, state.maximum));
  const dots = Array.from({ length: shown }, (_, index) => {
    const dot = document.createElement("i");
    if (index < state.bullets) dot.className = "full";
    return dot;
  });
  part("bullets").replaceChildren(...dots);
  part("bullets").setAttribute("aria-label", `${state.bullets} digits entered`);
  part("ok").disabled = state.bullets < state.minimum;
}

function draw(state) {
  const showsAmount = state.amount !== null && state.kind !== "idle";
  part("amount").hidden = !showsAmount;
  if (showsAmount) part("figure").textContent = (state.amount / 100).toFixed(2);
  if (state.kind === "message") part("text").textContent = state.text;
  if (state.kind === "code") {
    part("code").src = `code.png?version=${state.version}`;
    part("expires").textContent = state.expires === null ? "" :
      `good until ${new Date(state.expires / 1000).toLocaleTimeString()}`;
  }
  if (state.kind === "pin") {
    if (entry !== state.entry) {
      entry = state.entry;
      drawPad(state);
    }
    drawBullets(state);
  } else {
    entry = "";
    part("keys").replaceChildren();
  }
  part("view").dataset.kind = state.kind;
}

function offline(is) {
  part("link").textContent = is ? "not connected" : "";
}

async function follow() {
  let version = -1;
  for (;;) {
    try {
      const answer = await fetch(`state?after=${version}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const state = await answer.json();
      offline(false);
      if (state.version !== version) {
        version = state.version;
        draw(state);
      }
    } catch {
      offline(true);
      await new Promise((done) => setTimeout(done, 500));
    }
  }
}

document.addEventListener("keydown", (event) => {
  if (!entry) return;
  if (event.key === "Enter") send({ key: "ok" });
  else if (event.key === "Backspace") send({ key: "delete" });
  else if (event.key === "Escape") send({ key: "cancel" });
});

follow();
