/** What the records of a domain are for, in words. */

const TITLES: Readonly<Record<string, string>> = {
  ownership: "Proof that the domain is yours",
  mx: "Where mail for the domain goes (MX)",
  spf: "Which hosts send mail of the domain (SPF)",
  dkim: "Key that signs mail of the domain (DKIM)",
  dmarc: "What others do with forged mail (DMARC)",
  "mta-sts": "Mail comes only over TLS (MTA-STS)",
  "mta-sts-host": "Where the MTA-STS policy is",
  "tls-rpt": "Where reports of failed TLS go (TLS-RPT)",
  autoconfig: "Set-up of Thunderbird and others (Autoconfig)",
  autodiscover: "Set-up of Outlook (Autodiscover)",
  ptr: "Name of the sending address (PTR)",
};

/** Return what a record is for, by its purpose; of a service, by its name too. */
export function titleOf({ purpose, name }: { purpose: string; name: string }): string {
  const service = /^_([a-z0-9-]+)\._tcp\./.exec(name)?.[1];
  if (purpose === "service" && service !== undefined)
    return `Where mail clients find ${service.toUpperCase()}`;
  return TITLES[purpose] ?? purpose;
}
