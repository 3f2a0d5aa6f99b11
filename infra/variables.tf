# What is yours to choose. First what has no default, because a wrong guess would be quiet or for good.

variable "project" {
  description = "The Google Cloud project. One for each environment: names below are fixed."
  type        = string
}

variable "region" {
  description = "Where the service runs, for example europe-west1. Near commercetools' region, which it reads on every message."
  type        = string
}

variable "segment_region" {
  description = "Where the Segment workspace is: us or eu. The wrong one answers 200 and drops everything."
  type        = string

  validation {
    condition     = contains(["us", "eu"], var.segment_region)
    error_message = "segment_region is us or eu."
  }
}

variable "segment_user_id" {
  description = <<-TEXT
    Which field of the customer is Segment's userId: id, email, key, externalId or customerNumber.

    This is for good. Segment never renames a user: changed later, every customer becomes a second person in Segment,
    counted (and paid) again, the history left with the first one. "id" never changes and every customer has one.
    "email" is what web forms know, but people change it, and each change is a new person. The other three are right
    where Segment already knows the customers by them; a customer who lacks the field is ignored until there is one.
  TEXT
  type        = string

  validation {
    condition     = contains(["id", "email", "key", "externalId", "customerNumber"], var.segment_user_id)
    error_message = "segment_user_id is id, email, key, externalId or customerNumber."
  }
}

variable "commercetools" {
  description = <<-TEXT
    The API client that reads the customers: project_key, client_id, and region as in its addresses, for example
    europe-west1.gcp. Its secret is not here but in Secret Manager. null: nothing is read, only notifications that bring
    the customer can be delivered, and those may be stale.
  TEXT
  type = object({
    project_key = string
    client_id   = string
    region      = string
  })
}

variable "alert_emails" {
  description = "The addresses that get the alerts. [] means none: choose it only if you watch the alerts in another way."
  type        = set(string)
}

# Now what has a default that is right for most.

variable "push_auth" {
  description = <<-TEXT
    Who checks that a push comes from the subscription. iam: Cloud Run does, nobody else gets as far as the service.
    oidc: the service does, and its address answers anybody with 401; for an organisation or a gateway in which Cloud
    Run's own check cannot be used.
  TEXT
  type        = string
  default     = "iam"

  validation {
    condition     = contains(["iam", "oidc"], var.push_auth)
    error_message = "push_auth is iam or oidc."
  }
}

variable "ingress" {
  description = "From where the service can be reached. Pub/Sub of the same project counts as internal."
  type        = string
  default     = "INGRESS_TRAFFIC_INTERNAL_ONLY"
}

variable "segment_clear_traits" {
  description = "Which traits an absent field clears: own (those only commercetools can know) or all (README, Clearing)."
  type        = string
  default     = "own"
}

variable "erasure" {
  description = "Which deleted customers are erased in Segment: off, requested (those with dataErasure) or every."
  type        = string
  default     = "off"
}

variable "secret_versions" {
  description = "The version of each secret by its setting's name, for example { SEGMENT_WRITE_KEY = 2 }; 1 if not given."
  type        = map(number)
  default     = {}
}

variable "min_instances" {
  description = "Instances kept warm. 0: the first message after a quiet time waits for a start of a second or two."
  type        = number
  default     = 0
}

variable "max_instances" {
  description = <<-TEXT
    The most instances. Few are best: a process shares upstream calls among the messages it holds and remembers what it
    has delivered. One takes hundreds of messages a second; Segment asks for at most 1,000 events a second.
  TEXT
  type        = number
  default     = 3
}

variable "log_level" {
  description = "INFO, or above it fewer lines. Delivered and Ignored are INFO: without them metrics and alerts see failures only."
  type        = string
  default     = "INFO"
}

variable "registry_region" {
  description = "Where images are kept, if not in the service's region: for moving the service (docs/deploy.md)."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service. Set false to move it or to tear all down."
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
