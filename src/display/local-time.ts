/** Dates as readers' clocks show them. */

/** `2026-01-31 09:05:00`, with milliseconds where there are any, in the local time zone; undefined where the date is none. */
export function localTime(date: Date): string | undefined {
  if (Number.isNaN(date.getTime())) return undefined;
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  const rest = date.getMilliseconds();
  return `${day} ${time}${rest ? `.${String(rest).padStart(3, '0')}` : ''}`;
}

const two = (value: number): string => String(value).padStart(2, '0');
