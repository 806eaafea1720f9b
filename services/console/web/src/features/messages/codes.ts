/** What replies of SMTP servers mean, in a sentence (RFC 3463, RFC 7504, and the IANA registry of
 * enhanced status codes). */

const MEANINGS: Readonly<Record<string, string>> = {
  "1.0": "There is something about the address that the server does not explain.",
  "1.1": "The mailbox does not exist.",
  "1.2": "The domain does not exist or cannot be reached.",
  "1.3": "The address is not written correctly.",
  "1.8": "The sender's domain does not exist.",
  "1.10": "The domain says that it takes no mail.",
  "2.0": "There is something about the mailbox that the server does not explain.",
  "2.1": "The mailbox is disabled.",
  "2.2": "The mailbox is full.",
  "2.3": "The message is too large for the mailbox.",
  "3.0": "The server has trouble of its own.",
  "3.1": "The server's disk is full.",
  "3.2": "The server takes no messages at the moment.",
  "3.4": "The message is too large for the server.",
  "4.0": "There is trouble with the network or with routing.",
  "4.1": "The server does not answer.",
  "4.2": "The connection broke or was too slow.",
  "4.3": "DNS does not answer.",
  "4.4": "There is no route to the domain.",
  "4.6": "The message goes in a circle.",
  "4.7": "Delivery was given up after all attempts.",
  "5.0": "The servers did not understand each other.",
  "5.2": "The server does not know the command.",
  "5.3": "There are too many recipients.",
  "6.3": "The message has a form that the server cannot take.",
  "6.7": "The server cannot take an address outside of ASCII.",
  "7.0": "The server refuses it by a rule that it does not explain.",
  "7.1": "The server refuses the message by a rule, often as spam or by the sender's reputation.",
  "7.4": "The server demands encryption that could not be agreed on.",
  "7.8": "The user name or password is wrong.",
  "7.20": "The message has no valid DKIM signature.",
  "7.23": "SPF does not allow the sender.",
  "7.25": "The sending address has no matching reverse DNS.",
  "7.26": "The sender's domain could not be authenticated (SPF, DKIM or DMARC).",
  "7.27": "The sender's address takes no mail itself.",
};

const CLASSES: Readonly<Record<string, string>> = {
  "2": "The server took it.",
  "4": "The server may take it later: it is tried again.",
  "5": "The server refuses it for good: it is not tried again.",
};

/** Return what a reply means; undefined when it holds no code. `reply`: such as
 * "550 5.1.1 no such user", or the enhanced code alone. */
export function meaningOf(reply: string): string | undefined {
  const enhanced = /(?:^|[\s-])([245])\.(\d{1,3})\.(\d{1,3})(?=\s|$)/.exec(reply);
  if (enhanced) {
    const [, kind = "", subject, detail] = enhanced;
    if (kind === "2") return CLASSES[2];
    const meaning = MEANINGS[`${subject}.${detail}`] ?? MEANINGS[`${subject}.0`];
    return [meaning, CLASSES[kind]].filter(Boolean).join(" ");
  }
  const basic = /^([245])\d\d(?:[\s-]|$)/.exec(reply);
  return basic ? CLASSES[basic[1] as string] : undefined;
}
