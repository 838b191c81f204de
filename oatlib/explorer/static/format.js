// @ts-check
// Numbers as text.

/**
 * @param {number} fraction in [0, 1]
 * @param {number} digits after the decimal point
 */
export function percent(fraction, digits = 1) {
  return `${(100 * fraction).toFixed(digits)} %`;
}

/**
 * Two accuracies as a range in per cent, such as "41–58".
 * @param {number} low in [0, 1]
 * @param {number} high in [0, 1]
 */
export function percentRange(low, high) {
  return `${Math.round(100 * low)}–${Math.round(100 * high)}`;
}

/**
 * A number without trailing zeros.
 * @param {number} x
 */
export function short(x, digits = 3) {
  return String(+x.toFixed(digits));
}

/**
 * A time: 0.0853 -> "85 µs", 1.23 -> "1.2 ms".
 * @param {number} milliseconds
 */
export function duration(milliseconds) {
  const microseconds = 1000 * milliseconds;
  if (microseconds >= 999.5) return `${+milliseconds.toPrecision(2)} ms`;
  return `${+microseconds.toPrecision(2)} µs`;
}

/**
 * A large number: 1234 -> "1.23 k".
 * @param {number} n
 */
export function count(n) {
  if (n >= 1e6) return `${(n / 1e6).toPrecision(3)} M`;
  return n >= 1e3 ? `${(n / 1e3).toPrecision(3)} k` : String(n);
}
