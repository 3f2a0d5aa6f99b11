# The commercetools Subscription by Terraform, for a shop that manages commercetools so already. It is not part of infra/
# and off unless you apply it; the command `commercetools-segment subscribe` does the same and more (docs/deploy.md).
#
# The provider is https://registry.terraform.io/providers/labd/commercetools. Its API client has manage_subscriptions and
# comes from the environment: CTP_PROJECT_KEY, CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_SCOPES, CTP_AUTH_URL, CTP_API_URL.

terraform {
  required_version = ">= 1.7"

  required_providers {
    commercetools = {
      source  = "labd/commercetools"
      version = "~> 1.19"
    }
  }

  backend "gcs" {
    prefix = "commercetools-segment-subscription"
  }
}

provider "commercetools" {}

variable "project" {
  description = "The Google Cloud project of the topic."
  type        = string
}

variable "orders" {
  description = "As in infra/: on brings the Messages of orders and payments too."
  type        = string
  default     = "off"

  validation {
    condition     = contains(["off", "on"], var.orders)
    error_message = "orders must be off or on."
  }
}

variable "erasure" {
  description = "As in infra/. With an e-mail address as the user id, only the Message CustomerDeleted has it."
  type        = string
  default     = "off"
}

variable "segment_user_id" {
  description = "As in infra/."
  type        = string
}

locals {
  # What service/operations/subscription.py subscribes to; tests/test_infra.py compares them.
  messages = merge(
    var.erasure == "off" || var.segment_user_id != "email" ? {} : { customer = ["CustomerDeleted"] },
    var.orders == "off" ? {} : {
      order = [
        "OrderCreated", "OrderCreatedFromRecurringOrder", "OrderImported", "OrderStateChanged",
        "OrderShipmentStateChanged", "OrderPaymentStateChanged", "OrderCustomerSet", "OrderEditApplied",
      ]
      payment = ["PaymentCreated", "PaymentTransactionAdded", "PaymentTransactionStateChanged"]
    },
  )
}

resource "commercetools_subscription" "segment" {
  key = "commercetools-segment"

  destination {
    type       = "GoogleCloudPubSub"
    project_id = var.project
    topic      = "commercetools-customers"
  }

  changes {
    resource_type_ids = ["customer"]
  }

  dynamic "message" {
    for_each = local.messages
    content {
      resource_type_id = message.key
      types            = message.value
    }
  }
}
