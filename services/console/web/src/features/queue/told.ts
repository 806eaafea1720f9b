/** What an action on several recipients came to, in words. */
import { count } from "../../parts/moments";

interface Answer {
  matched: number;
  passed_over: number;
  left: number;
}

export function told(done: string, answers: readonly Answer[]): string {
  const sum = (name: keyof Answer) => answers.reduce((total, each) => total + each[name], 0);
  const passed = sum("passed_over");
  const left = sum("left");
  return [
    `${done}: ${count(sum("matched"))}`,
    ...(passed > 0 ? [`passed over: ${count(passed)}`] : []),
    ...(left > 0 ? [`left: ${count(left)}`] : []),
  ].join(", ");
}
