# The settings of an environment. First those without a default, because a wrong value would go unnoticed or could not
# be changed later.

variable "project" {
  description = "The Google Cloud project. One for each environment, because the names of the resources are fixed."
  type        = string
}

variable "region" {
  description = "The region of the service, for example europe-west1. Best near commercetools: it is read for every message."
  type        = string
}

variable "segment_region" {
  description = "The region of the Segment workspace: us or eu. The wrong region answers 200 and drops everything."
  type        = string

  validation {
    condition     = contains(["us", "eu"], var.segment_region)
    error_message = "segment_region must be us or eu."
  }
}

variable "segment_user_id" {
  description = <<-TEXT
    Which field of the customer is Segment's userId: id, email, key, externalId or customerNumber.

    You choose it for good, because Segment never renames a user: after a change, every customer becomes a second
    person in Segment, who is counted (and paid) again, and the history stays with the first one. "id" never changes,
    and every customer has one. "email" is what web forms know, but people change it, and each change creates a new
    person. The other three are right if Segment already identifies the customers by them; a customer without the field
    is ignored until the field is set.
  TEXT
  type        = string

  validation {
    condition     = contains(["id", "email", "key", "externalId", "customerNumber"], var.segment_user_id)
    error_message = "segment_user_id must be id, email, key, externalId or customerNumber."
  }
}

variable "commercetools" {
  description = <<-TEXT
    The API client that reads the customers: project_key, client_id, and region as in its addresses, for example
    europe-west1.gcp. Its scopes are view_customers and view_customer_groups, and those of "orders"; without one of them
    it gets no token (docs/deploy.md, step 2). Its secret is not here but in Secret Manager. null: the service reads nothing; it can deliver only
    notifications that include the customer, and those may be stale.
  TEXT
  type = object({
    project_key = string
    client_id   = string
    region      = string
  })
}

variable "alert_emails" {
  description = "Who gets an e-mail when an alert opens. [] means nobody: only if alert_channels has somebody, or you check the alerts elsewhere."
  type        = set(string)
}

# The settings whose defaults are right for most.

variable "push_auth" {
  description = <<-TEXT
    Who checks that a push comes from the subscription. iam: Cloud Run checks it, and no other request reaches the
    service. oidc: the service checks it, and answers 401 to all other requests; for an organisation or a gateway where
    Cloud Run's own check cannot be used.
  TEXT
  type        = string
  default     = "iam"

  validation {
    condition     = contains(["iam", "oidc"], var.push_auth)
    error_message = "push_auth must be iam or oidc."
  }
}

variable "ingress" {
  description = "The networks that can reach the service. Pub/Sub of the same project counts as internal."
  type        = string
  default     = "INGRESS_TRAFFIC_INTERNAL_ONLY"
}

variable "segment_clear_traits" {
  description = "Which traits an absent field clears: off (none), own (only commercetools has them) or all (docs/customers.md, Clearing)."
  type        = string
  default     = "own"

  validation {
    condition     = contains(["off", "own", "all"], var.segment_clear_traits)
    error_message = "segment_clear_traits must be off, own or all."
  }
}

variable "erasure" {
  description = <<-TEXT
    Which deleted customers are erased in Segment: off, requested (those with dataErasure) or every. The user is
    deleted. With segment_user_id = "id" it is also suppressed, for good. Any other user id may come back under a new
    customer, so it is not suppressed, and what Segment has under a former value of it (an earlier e-mail address) stays.
  TEXT
  type        = string
  default     = "off"
}

variable "orders" {
  description = <<-TEXT
    Whether orders and refunds become Segment's e-commerce events: off or on (docs/orders.md). With on, the API client
    in commercetools needs three scopes more: view_orders, view_payments and view_discount_codes (docs/deploy.md, "Orders
    and refunds", has the order of the steps).
  TEXT
  type        = string
  default     = "off"

  validation {
    condition     = contains(["off", "on"], var.orders)
    error_message = "orders must be off or on."
  }
}

variable "order_imports" {
  description = "Which orders of an Order Import are told: none, recent (completed at most a day before) or all."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["none", "recent", "all"], var.order_imports)
    error_message = "order_imports must be none, recent or all."
  }
}

variable "mapping_file" {
  description = <<-TEXT
    The path of the shop's mapping file in the shop's own image, such as /app/mapping.toml (docs/deploy.md). "" means
    none: the built-in traits alone, or the file in mapping_secret. First deploy the image, then set this.
  TEXT
  type        = string
  default     = ""

  validation {
    condition     = var.mapping_file == "" || can(regex("^/[A-Za-z0-9_./-]+\\.toml$", var.mapping_file))
    error_message = "mapping_file must be a path from the image's root, such as /app/mapping.toml."
  }
}

variable "mapping_secret" {
  description = <<-TEXT
    The shop's mapping file in Secret Manager, in place of mapping_file: the secret's id, in this project, and the
    version, as in { secret = "commercetools-mapping", version = 1 }. The version is a number. "latest" would be fetched at each start of an instance, so that one revision could
    follow two files.
  TEXT
  type = object({
    secret  = string
    version = string
  })
  default = null

  validation {
    condition     = var.mapping_secret == null || can(regex("^[1-9][0-9]*$", var.mapping_secret.version))
    error_message = "mapping_secret.version must be a number, not latest: a revision has one mapping file."
  }
  validation {
    condition     = var.mapping_secret == null || can(regex("^[A-Za-z0-9_-]{1,255}$", var.mapping_secret.secret))
    error_message = "mapping_secret.secret must be the id of a secret, without its project."
  }
}

variable "suppresses_withdrawn" {
  description = <<-TEXT
    Whether the mapping file has consent.withdrawn = "suppress". The service then needs the secret
    segment-public-api-token, even if erasure is off.
  TEXT
  type        = bool
  default     = false
}

variable "secret_versions" {
  description = "Secret versions by the name of the setting, for example { SEGMENT_WRITE_KEY = 2 }. The default is 1."
  type        = map(number)
  default     = {}
}

variable "min_instances" {
  description = "Instances that are kept warm. With 0, the first message after a quiet time waits 1 to 2 s for a start."
  type        = number
  default     = 0
}

variable "max_instances" {
  description = <<-TEXT
    The maximum number of instances. One is best: the messages in one process share upstream calls, and the process
    remembers what it has delivered. It processes hundreds of messages a second; Segment asks for at most 1,000 events
    a second. Several instances keep the promise too: each looks again after a late confirmation.
  TEXT
  type        = number
  default     = 1
}

variable "memory" {
  description = <<-TEXT
    The memory of an instance of the service, and of a task of its jobs, for example 1Gi. The service has 63 MB when idle,
    60 MB more after the first dead letter, and what the pushes in work need: one can have 14 MiB. More than 4Gi needs
    more CPUs too. https://cloud.google.com/run/docs/configuring/services/memory-limits
  TEXT
  type        = string
  default     = "512Mi"

  validation {
    condition     = can(regex("^[1-9][0-9]{0,4}(Mi|Gi)$", var.memory))
    error_message = "memory must be a whole number with the unit Mi or Gi, such as 1Gi."
  }
}

variable "cpus" {
  description = <<-TEXT
    The CPUs of an instance of the service, and of a task of its jobs: 1, 2, 4, 6 or 8. Each is one process, which cannot
    use a second CPU: more are of use only for the memory that Cloud Run gives with them.
  TEXT
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 4, 6, 8], var.cpus)
    error_message = "cpus must be 1, 2, 4, 6 or 8."
  }
}

variable "log_level" {
  description = "INFO or higher. Above it, Delivered and Ignored are not logged: metrics and alerts see failures only."
  type        = string
  default     = "INFO"
}

variable "message_regions" {
  description = <<-TEXT
    The regions in which Pub/Sub stores messages and dead letters, for example ["europe-west1", "europe-west4"]. null
    means the service's region alone; [] means no restriction. A message that is published elsewhere is forwarded.
  TEXT
  type        = list(string)
  default     = null
}

variable "registry_region" {
  description = "The region of the images, if it differs from the service's. To move the service: docs/deploy.md."
  type        = string
  default     = ""
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service. Set it to false before a move or a tear-down."
  type        = bool
  default     = true
}

variable "oldest_message_minutes" {
  description = "An alert opens when the oldest message not yet acknowledged is older than this."
  type        = number
  default     = 30
}

variable "failed_percent" {
  description = "An alert opens when more than this share of the messages, or of the pushes, fails for ten minutes."
  type        = number
  default     = 5
}

variable "alert_channels" {
  description = <<-TEXT
    Notification channels besides e-mail that are told of every alert, for example of Slack. They exist already, since
    the console makes them with your account there: projects/PROJECT/notificationChannels/NUMBER.
  TEXT
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for channel in var.alert_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "alert_channels must have the form projects/PROJECT/notificationChannels/NUMBER."
  }
}

variable "page_channels" {
  description = <<-TEXT
    Notification channels that are told only of the alerts that cannot wait for the morning, for example of PagerDuty
    (docs/operations.md has the list). In the form of alert_channels.
  TEXT
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for channel in var.page_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "page_channels must have the form projects/PROJECT/notificationChannels/NUMBER."
  }
}

variable "runbook_url" {
  description = <<-TEXT
    Where your copy of docs/operations.md is shown, for example https://github.com/SHOP/REPOSITORY/blob/main/docs/operations.md:
    each alert then links its section. "" means that an alert only names the section.
  TEXT
  type        = string
  default     = ""

  validation {
    condition     = var.runbook_url == "" || can(regex("^https://[^\\s#()]+$", var.runbook_url))
    error_message = "runbook_url must begin with https://, and have no # and no brackets: each alert adds its section."
  }
}

variable "backfill_tasks" {
  description = <<-TEXT
    The number of tasks of the backfill, each with its part of the ids. One sends as much as Segment asks for (1,000
    events a second) if both sides answer quickly. A backfill that has begun keeps its number.
  TEXT
  type        = number
  default     = 1

  validation {
    condition     = var.backfill_tasks >= 1 && var.backfill_tasks <= 100 && floor(var.backfill_tasks) == var.backfill_tasks
    error_message = "backfill_tasks must be a whole number from 1 to 100."
  }
}

variable "backfill_parallelism" {
  description = "How many tasks of the backfill run at the same time. 0 means all of them."
  type        = number
  default     = 0
}

variable "check_schedule" {
  description = "When the check runs, in UTC, as in cron. At least twice a day, or the alert opens that it does not run."
  type        = string
  default     = "17 5,17 * * *"
}

variable "scheduler_region" {
  description = "The region of Cloud Scheduler, if there is none in the service's."
  type        = string
  default     = null
}
