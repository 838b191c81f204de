// @ts-check
// The search for a setting within limits, as `oatlib.choose` does it.
/** @import { Network, State, Surface } from "./types.js" */
import { frontier } from "./curves.js";
import { percent, short } from "./format.js";

/**
 * The most robust measured setting within the limits of a state. Among equally robust settings the
 * most accurate one is taken, then the one with the fewest multiply-adds.
 * @param {Network} net
 * @param {Surface} surface
 * @param {Pick<State, "eps" | "min_clean" | "max_size">} limits
 * @returns {{ lam: number, width: number } | { why: string }} the setting, or why there is none
 */
export function choose(net, surface, limits) {
  const full = net.prices[net.prices.length - 1].macs;
  const all = surface.widths.flatMap((width, w) => {
    const size = net.prices[w].macs / full;
    return frontier(surface, width, limits.eps).map((point) => ({ ...point, width, size }));
  });
  if (!all.length) return { why: "Nothing is measured yet at this ε. Please wait a moment." };

  const small = all.filter((point) => point.size <= limits.max_size + 1e-9);
  if (!small.length) {
    const least = percent(Math.min(...all.map((point) => point.size)), 0);
    const most = percent(limits.max_size, 0);
    return {
      why: `No setting costs at most ${most} of the full network: the smallest costs ${least}.`,
    };
  }

  const good = small.filter((point) => point.clean >= limits.min_clean);
  if (!good.length) {
    const best = small.reduce((a, b) => (b.clean > a.clean ? b : a));
    const place = `λ = ${short(best.lam)}, width ${short(best.width)}`;
    return {
      why:
        `No setting of this size has ${percent(limits.min_clean, 0)} clean accuracy: ` +
        `the closest is ${percent(best.clean)} at ${place}.`,
    };
  }
  good.sort((a, b) => b.robust - a.robust || b.clean - a.clean || a.size - b.size);
  return { lam: good[0].lam, width: good[0].width };
}
