// The state as a string: what is copied, pasted and kept in the address.

const FIELDS = ["network", "lam", "width", "eps", "attack", "min_clean", "max_size", "compare"];

function writeState(state) {
  return FIELDS.map((k) => `${k}=${encodeURIComponent(k === "compare" ? state.compare.join(",") : state[k]).replaceAll("%2C", ",").replaceAll("%20", "+")}`).join("&");
}

// The state that a string names, the rest as in `state`; throws an Error that says what cannot be.
function readState(text, state, world) {
  const found = { ...state };
  for (const [key, value] of new URLSearchParams(text.trim().replace(/^[#?]/, ""))) {
    if (key === "steps") { // of PGD, as earlier versions wrote it
      if (new URLSearchParams(text).has("attack")) throw new Error("a state has steps (of PGD) or an attack, not both: leave steps out");
      found.attack = `pgd-${value}`;
    } else if (!FIELDS.includes(key)) throw new Error(`a state has no "${key}"; it has ${FIELDS.join(", ")}`);
    else if (key === "network" || key === "attack") found[key] = value;
    else if (key === "compare") found.compare = value.split(",").filter(Boolean);
    else if (value.trim() === "" || !isFinite(+value)) throw new Error(`${key} must be a number, got "${value}"`);
    else found[key] = +value;
  }
  for (const name of [found.network, ...found.compare])
    if (!(name in world.networks)) throw new Error(`there is no network "${name}" here; there are ${Object.keys(world.networks).join(", ")}`);
  if (!world.attacks.includes(found.attack)) throw new Error(`attack must be one of ${world.attacks.join(", ")}`);
  if (!(found.eps >= 0 && found.eps <= world.maxEps)) throw new Error(`eps is in 1/255 and lies in [0, ${world.maxEps}]`);
  for (const key of ["min_clean", "max_size"])
    if (!(found[key] >= 0 && found[key] <= 1)) throw new Error(`${key} is a share in [0, 1]`);
  return fitting(found, world);
}

// The same state on the dials that its network has.
function fitting(state, world) {
  const net = world.networks[state.network], last = net.stops.length - 1;
  const lam = Math.min(Math.max(state.lam, net.stops[0]), net.stops[last]);
  return { ...state, lam, width: net.widths[nearest(net.widths, state.width)] };
}
